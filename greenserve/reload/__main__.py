"""The process that watches files; it is started by the supervisor, by its path, and ends with it.

python -P greenserve/reload/__main__.py DESCRIPTOR
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Importing greenserve would import the hub and twenty other modules: here it is but the folder of this one.
    bare = type(sys)("greenserve")
    bare.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]  # noqa: PTH100, PTH120 - as above
    sys.modules["greenserve"] = bare

    from greenserve.reload.watcher import main

    main(int(sys.argv[1]))
