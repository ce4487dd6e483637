"""The broker's own process: started by the path of this file, without `site`, so that nothing but the standard library
is imported.

    python -S -E greenserve/rooms/unix/broker/__main__.py PATH DEVICE INODE CHECK_SECONDS LINGER_SECONDS

Standard input is the listening socket, which is bound at PATH; standard output holds the lock.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    # Importing these would import the hub and twenty other modules: here they are but their folders.
    for name in ("greenserve", "greenserve.net", "greenserve.rooms"):
        bare = type(sys)(name)
        bare.__path__ = [os.path.join(os.path.dirname(root), *name.split("."))]
        sys.modules[name] = bare
    # Else the modules of this folder would be found by their last names, too. Not by value: links are resolved there.
    del sys.path[0]

    from greenserve.rooms.unix.broker.process import main

    sys.exit(main(*sys.argv[1:]))
