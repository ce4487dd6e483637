"""The one table of what replaces what when the standard library is patched, and of what is adapted to green threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenserve.green import signal
from greenserve.patching.adapters import asyncio, multiprocessing, psycopg
from greenserve.patching.polling import relax_polls


@dataclass(frozen=True, slots=True)
class Patch:
    """In `module`, `names` (of attributes; with a dot: of a class's; spaces between) are replaced by the same names of
    `greenserve.green.<module>`; those that a platform, or this version of Python, lacks are not.
    """

    module: str
    names: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """`module` is passed to `adapt` if it is imported, or when it is."""

    module: str
    adapt: Callable[[Any], None]


TABLE: dict[str, tuple[Patch | Adapter, ...]] = {
    "socket": (
        # What is written in Python (create_connection, fromfd, ...) looks these up in the module, and turns green.
        Patch("socket", "socket getaddrinfo gethostbyname gethostbyname_ex gethostbyaddr getnameinfo"),
        # Not SSLContext: its properties say `super(SSLContext, SSLContext)`, which must go on meaning the class itself.
        # This way contexts that exist already make green sockets too.
        Patch("ssl", "SSLSocket SSLContext.sslsocket_class socket"),
    ),
    "select": (
        Patch("select", "select poll epoll"),
        Patch("selectors", "SelectSelector PollSelector EpollSelector KqueueSelector DefaultSelector"),
    ),
    "time": (Patch("time", "sleep"),),
    "thread": (
        Patch(
            "_thread",
            "start_new_thread start_new start_joinable_thread get_ident _count _local _excepthook "
            "allocate_lock allocate LockType lock RLock "
            "_set_sentinel _ThreadHandle _make_thread_handle _shutdown",
        ),
        Patch(
            "threading",
            "_start_new_thread _start_joinable_thread get_ident local excepthook _shutdown "
            "Lock _allocate_lock _LockType RLock _CRLock Event Condition Semaphore BoundedSemaphore "
            "_set_sentinel _ThreadHandle _make_thread_handle _thread_shutdown "
            "_active_limbo_lock _shutdown_locks_lock _DummyThread _DeleteDummyThreadOnDel",
        ),
        Patch("queue", "SimpleQueue"),
        Adapter("threading", relax_polls),
        Adapter("queue", relax_polls),
        Adapter("concurrent.futures._base", relax_polls),
        Patch("sys", "set_asyncgen_hooks set_coroutine_origin_tracking_depth"),
        Adapter("asyncio.events", asyncio.carry),
        Adapter("multiprocessing.synchronize", multiprocessing.green_locks),
        Adapter("multiprocessing.resource_sharer", multiprocessing.leave_signals),
    ),
    "os": (
        Patch("os", "waitpid wait wait3 wait4 waitid read readv write system lockf"),
        Patch("fcntl", "flock lockf fcntl"),
    ),
    "subprocess": (Patch("subprocess", "Popen"),),
    "signal": (
        Patch("signal", "signal getsignal pause sigwait sigwaitinfo sigtimedwait"),
        Adapter("signal", signal.move_handlers_to_main),
    ),
    "psycopg": (  # Eventlet's name for it
        Adapter("psycopg2.extensions", psycopg.set_wait_callback),
        Adapter("psycopg.waiting", psycopg.wait_by_poll),
    ),
}
"""What `monkey_patch(**which)` may name, and what each does."""

STAYS_BLOCKING = ("input()", "opening a FIFO", "reading a terminal or sys.stdin", "what waits in C")
"""What stops all green threads while it waits: nothing in Python is called meanwhile. docs/hub.md says what to do."""
