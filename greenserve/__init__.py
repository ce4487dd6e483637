"""greenserve: a concurrent WSGI and WebSocket server on green threads. The public names, and nothing else."""

from __future__ import annotations

from greenserve.green.monkey import is_monkey_patched, monkey_patch
from greenserve.hub import (
    GreenThread,
    Timeout,
    get_ident,
    getcurrent,
    kill,
    sleep,
    spawn,
    spawn_after,
    spawn_after_local,
    spawn_n,
    with_timeout,
)
from greenserve.server import Server, serve
from greenserve.version import VERSION as __version__

__all__ = [
    "GreenThread",
    "Server",
    "Timeout",
    "__version__",
    "get_ident",
    "getcurrent",
    "is_monkey_patched",
    "kill",
    "monkey_patch",
    "serve",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_after_local",
    "spawn_n",
    "with_timeout",
]
