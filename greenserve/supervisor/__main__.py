"""The supervisor's own process: what the command becomes (by exec) when it has opened the listeners and started a
template.

    python -S -E greenserve/supervisor/__main__.py greenserve app:app --workers 4

It is started by its path, and without `site`, so that nothing but the standard library is imported.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    # Importing greenserve would import the hub and twenty other modules: here it is but the folder of this one.
    bare = type(sys)("greenserve")
    bare.__path__ = [os.path.dirname(here)]
    sys.modules["greenserve"] = bare
    # Else the modules of this folder would be found by their last names, too. Not by value: links are resolved there.
    del sys.path[0]

    from greenserve.supervisor.process import main

    sys.exit(main())
