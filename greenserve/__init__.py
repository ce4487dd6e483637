"""greenserve: a concurrent WSGI and WebSocket server, and a library of green threads. The public names, nothing else.

Strategy: what green threads need is here at once, also because it must hold the interpreter's own primitives before
anything patches these. What speaks to the network is imported when it is first asked for: a program that only wants
green threads starts three times as fast. Importing this changes nothing in the process.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from greenserve.compat import former_names as _former_names  # noqa: F401 - whose finder is to be there
from greenserve.hub import (
    AsyncResult,
    Barrier,
    BoundedSemaphore,
    BrokenBarrierError,
    Channel,
    Condition,
    Empty,
    Event,
    Flag,
    Full,
    GreenPile,
    GreenPool,
    GreenThread,
    LifoQueue,
    LightQueue,
    Lock,
    Pool,
    PriorityQueue,
    Queue,
    RLock,
    Semaphore,
    ShutDown,
    SimpleQueue,
    TaskGroup,
    Timeout,
    TokenPool,
    current_hub,
    get_ident,
    getcurrent,
    is_timeout,
    iwait,
    joinall,
    kill,
    local,
    run_dag,
    sleep,
    spawn,
    spawn_after,
    spawn_after_local,
    spawn_n,
    waitall,
    with_timeout,
)
from greenserve.hub.threadpool import ThreadPool
from greenserve.patching.import_patched import import_patched
from greenserve.patching.monkey import is_monkey_patched, monkey_patch
from greenserve.patching.originals import original
from greenserve.version import VERSION as __version__

if TYPE_CHECKING:  # what __getattr__ gives; tests/test_public.py holds this and _HOMES together
    from greenserve import debug, net, rooms, testing, tpool, websocket
    from greenserve.net.sockets import connect, listen, wrap_ssl
    from greenserve.net.streamserver import DatagramServer, StopServe, StreamServer
    from greenserve.server import Server, serve
    from greenserve.wsgi.callbacks import Request, Response

__all__ = [
    "AsyncResult",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Channel",
    "Condition",
    "DatagramServer",
    "Empty",
    "Event",
    "Flag",
    "Full",
    "GreenPile",
    "GreenPool",
    "GreenThread",
    "LifoQueue",
    "LightQueue",
    "Lock",
    "Pool",
    "PriorityQueue",
    "Queue",
    "RLock",
    "Request",
    "Response",
    "Semaphore",
    "Server",
    "ShutDown",
    "SimpleQueue",
    "StopServe",
    "StreamServer",
    "TaskGroup",
    "ThreadPool",
    "Timeout",
    "TokenPool",
    "__version__",
    "connect",
    "current_hub",
    "debug",
    "get_ident",
    "getcurrent",
    "import_patched",
    "is_monkey_patched",
    "is_timeout",
    "iwait",
    "joinall",
    "kill",
    "listen",
    "local",
    "monkey_patch",
    "net",
    "original",
    "rooms",
    "run_dag",
    "serve",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_after_local",
    "spawn_n",
    "testing",
    "tpool",
    "waitall",
    "websocket",
    "with_timeout",
    "wrap_ssl",
]

_HOMES = {
    "DatagramServer": "greenserve.net.streamserver",
    "Request": "greenserve.wsgi.callbacks",
    "Response": "greenserve.wsgi.callbacks",
    "Server": "greenserve.server",
    "StopServe": "greenserve.net.streamserver",
    "StreamServer": "greenserve.net.streamserver",
    "connect": "greenserve.net.sockets",
    "listen": "greenserve.net.sockets",
    "serve": "greenserve.server",
    "wrap_ssl": "greenserve.net.sockets",
}
_MODULES = ("debug", "net", "rooms", "testing", "tpool", "websocket")


if not TYPE_CHECKING:  # type checkers that saw it would accept every name

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"greenserve.{name}")  # which makes it an attribute from now on
        if name not in _HOMES:
            raise AttributeError(f"module 'greenserve' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
