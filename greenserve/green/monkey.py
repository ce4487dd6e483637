"""Monkey-patching: the standard library's blocking modules made green in place, so that ordinary code is concurrent.

ONE table, TABLE, says what replaces what. `monkey_patch` should be the program's first act: a module that has
imported a real primitive by name before keeps it, and is named in a warning. `greenserve run program.py` does it for a
program (program.py).
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from greenserve.errors import ConfigurationError
from greenserve.green import COPIED, _natives, _upgrade, drivers, loops, other_hubs, processes, signal
from greenserve.green._copies import Copies
from greenserve.green._imports import adapt
from greenserve.green._relaxing import relax_futures, relax_queues, relax_threads
from greenserve.hub.hub import current_hub

_RESOLVER = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")


@dataclass(frozen=True, slots=True)
class Patch:
    """In `module`, `names` (of attributes; with a dot: of a class's) are replaced by the same names of
    `greenserve.green.<module>`; those that a platform, or this version of Python, lacks are not.
    """

    module: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Adapter:
    """`module` is passed to `adapt` if it is imported, or when it is."""

    module: str
    adapt: Callable[[Any], None]


TABLE: dict[str, tuple[Patch | Adapter, ...]] = {
    "socket": (
        # What is written in Python (create_connection, fromfd, ...) looks these up in the module, and turns green.
        Patch("socket", ("socket", *_RESOLVER)),
        # Not SSLContext: its properties say `super(SSLContext, SSLContext)`, which must go on meaning the class itself.
        # This way contexts that exist already make green sockets too.
        Patch("ssl", ("SSLSocket", "SSLContext.sslsocket_class", "socket")),
    ),
    "select": (
        Patch("select", ("select", "poll", "epoll")),
        Patch("selectors", ("SelectSelector", "PollSelector", "EpollSelector", "KqueueSelector", "DefaultSelector")),
    ),
    "time": (Patch("time", ("sleep",)),),
    "thread": (
        Patch(
            "_thread",
            (
                *(
                    "start_new_thread",
                    "start_new",
                    "start_joinable_thread",
                    "get_ident",
                    "_count",
                    "_local",
                    "_excepthook",
                ),
                *("allocate_lock", "allocate", "LockType", "lock", "RLock"),
                *("_set_sentinel", "_ThreadHandle", "_make_thread_handle", "_shutdown"),
            ),
        ),
        Patch(
            "threading",
            (
                *("_start_new_thread", "_start_joinable_thread", "get_ident", "local", "excepthook", "_shutdown"),
                *("Lock", "_allocate_lock", "_LockType", "RLock", "_CRLock"),
                *("Event", "Condition", "Semaphore", "BoundedSemaphore"),
                *("_set_sentinel", "_ThreadHandle", "_make_thread_handle", "_thread_shutdown"),
                *("_active_limbo_lock", "_shutdown_locks_lock", "_DummyThread", "_DeleteDummyThreadOnDel"),
            ),
        ),
        Patch("queue", ("SimpleQueue",)),
        Adapter("threading", relax_threads),
        Adapter("queue", relax_queues),
        Adapter("concurrent.futures._base", relax_futures),
        Patch("sys", ("set_asyncgen_hooks", "set_coroutine_origin_tracking_depth")),
        Adapter("asyncio.events", loops.carry),
        Adapter("multiprocessing.synchronize", processes.green_locks),
        Adapter("multiprocessing.resource_sharer", processes.leave_signals),
    ),
    "os": (
        Patch("os", ("waitpid", "wait", "wait3", "wait4", "waitid", "read", "readv", "write", "system", "lockf")),
        Patch("fcntl", ("flock", "lockf", "fcntl")),
    ),
    "subprocess": (Patch("subprocess", ("Popen",)),),
    "signal": (
        Patch("signal", ("signal", "getsignal", "pause", "sigwait", "sigwaitinfo", "sigtimedwait")),
        Adapter("signal", signal.move_handlers_to_main),
    ),
    "psycopg": (  # Eventlet's name for it
        Adapter("psycopg2.extensions", drivers.set_wait_callback),
        Adapter("psycopg.waiting", drivers.wait_by_poll),
    ),
}
"""What `monkey_patch(**which)` may name, and what each does."""

STAYS_BLOCKING = ("input()", "opening a FIFO", "reading a terminal or sys.stdin", "what waits in C")
"""What stops all green threads while it waits: nothing in Python is called meanwhile. docs/hub.md says what to do."""

_adapted: set[str] = set()
"""The modules that are, or will be, adapted."""

_MISSING = object()


@dataclass(slots=True)
class Report:
    """What `monkey_patch` has found. early: packages that had been imported before it, and are not the standard
    library's; held: what still refers to something real, as "module.attribute (name)".
    """

    early: tuple[str, ...] = ()
    held: tuple[str, ...] = ()


report = Report()


class LatePatchWarning(RuntimeWarning):
    """Something had imported real primitives before they were patched, and still uses them."""


class NotPatchedWarning(RuntimeWarning):
    """A server starts in a program that has made nothing green: its requests will wait for each other."""


def monkey_patch(**which: bool) -> None:
    """Make the standard library's blocking calls green, in this whole process.

    which: names of TABLE. None given: all. Some True: these alone. Some False: all but these. `all` stands for the
    rest. Twice is harmless. Locks that exist already are made green where that is possible; warns (LatePatchWarning)
    of what holds something that has just been replaced. From then on Eventlet's and gevent's own patching is without
    effect (other_hubs.py). Raises ConfigurationError for a name that is not in TABLE, and when one of them has patched
    this process already.

    >>> greenserve.monkey_patch()
    >>> import time
    >>> thread = greenserve.spawn(time.sleep, 60)
    >>> time.sleep(0.01)  # the other one sleeps meanwhile
    >>> greenserve.is_monkey_patched("time"), thread.dead
    (True, False)
    """
    groups = [group for group in _chosen(which) if not is_monkey_patched(group)]
    other_hubs.disarm()
    patches = [patch for group in groups for patch in TABLE[group] if isinstance(patch, Patch)]
    if not _natives.originals:
        report.early = _foreign_packages()
    # All twins first: they are made of what is still real.
    twins = {patch.module: importlib.import_module(f"greenserve.green.{patch.module}") for patch in patches}
    replaced: dict[int, tuple[str, Any]] = {}
    for patch in patches:
        replaced |= _apply(patch, importlib.import_module(patch.module), twins[patch.module])
    for adapter in [each for group in groups for each in TABLE[group] if isinstance(each, Adapter)]:
        _adapted.add(adapter.module)
        adapt(adapter.module, adapter.adapt)
    if not replaced:
        return
    _natives.keep_natives()
    current_hub()  # made now, its descriptors do not take a number that the program has just closed, and asks about
    held = _upgrade.upgrade_locks() if "thread" in groups else []
    held += _upgrade.upgrade_holders(replaced)
    report.held += tuple(sorted(held))
    if held:
        warnings.warn(
            "patched too late for these, which stay blocking: "
            + ", ".join(sorted(held))
            + "; call greenserve.monkey_patch() before they are imported",
            LatePatchWarning,
            stacklevel=2,
        )


_OURS = frozenset(
    {"greenserve", "greenlet", "h11", "click", "websockets", "__main__", "sitecustomize", "usercustomize"}
)
"""What is imported before a patch by the patch itself, by the command, or by the interpreter's start."""


def _foreign_packages() -> tuple[str, ...]:
    names = {name.partition(".")[0] for name in list(sys.modules)}
    return tuple(
        sorted(name for name in names - sys.stdlib_module_names - _OURS if not name.startswith(("_", "distutils")))
    )


def _chosen(which: dict[str, bool]) -> list[str]:
    unknown = sorted(which.keys() - TABLE.keys() - {"all"})
    if unknown:
        raise ConfigurationError(
            f"monkey_patch does not know {', '.join(unknown)}; it knows {', '.join(sorted(TABLE))} and all"
        )
    rest = which.get("all", not any(which.values()))
    return [group for group in TABLE if which.get(group, rest)]


def _apply(patch: Patch, module: ModuleType, twin: ModuleType) -> dict[int, tuple[str, Any]]:
    """Replace, and return the identities of what was replaced, with their names and successors."""
    saved = _natives.originals.setdefault(patch.module, {})
    replaced: dict[int, tuple[str, Any]] = {}
    for name in patch.names:
        owner, _, attribute = name.rpartition(".")
        holder: Any = getattr(module, owner) if owner else module
        real = getattr(holder, attribute, _MISSING)
        if real is _MISSING or name in saved:
            continue
        green = _green(twin, name)
        if green is _MISSING or green is real:
            continue
        saved[name] = real
        _natives.greens.setdefault(patch.module, {})[name] = green
        setattr(holder, attribute, green)
        replaced.setdefault(id(real), (f"{patch.module}.{name}", green))
    return replaced


def _green(twin: ModuleType, name: str) -> Any:
    """What the twin itself has; not getattr, which answers from a copy of the real module what it has not."""
    owner, _, attribute = name.rpartition(".")
    return vars(vars(twin)[owner] if owner else twin).get(attribute, _MISSING)


def is_monkey_patched(name: str) -> bool:
    """Whether a group of TABLE, or a module that one of them patches, is patched.

    >>> greenserve.is_monkey_patched("socket")
    False
    """
    modules = [patch.module for patch in TABLE.get(name, ())] or [name]
    return all(module in _natives.originals or module in _adapted for module in modules)


def is_in_use() -> bool:
    """Whether this program has made anything green: some of TABLE, or modules of its own by `import_patched`."""
    return bool(_natives.originals or _adapted or _imported.modules)


def users_level() -> int:
    """The `stacklevel` with which the caller's warning names the innermost line that is not greenserve's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "greenserve":
        level, frame = level + 1, frame.f_back
    return level


def real_locks() -> list[str]:
    """The names of what refers to a lock that stayed real by mistake: waiting for it blocks all green threads."""
    return _upgrade.real_locks()


def original(name: str) -> Any:
    """The module `name` with its real primitives, whether it is patched or not; e.g. `original("threading").Thread`, or
    `original("concurrent.futures").ThreadPoolExecutor` for real OS threads.

    >>> import threading
    >>> threading.Thread is greenserve.original("threading").Thread  # as long as nothing is patched
    True
    """
    return _natives.native(name) if _natives.originals else importlib.import_module(name)


# -- modules imported afresh over green ones


_TWINS = frozenset(patch.module for patches in TABLE.values() for patch in patches if isinstance(patch, Patch))


def import_patched(name: str) -> ModuleType:
    """The module `name`, imported afresh over green modules, without patching anything else.

    What it imports is afresh too: the standard library's network modules, and whatever is not the standard library's.
    The same object each time.

    >>> import http.client
    >>> green = greenserve.import_patched("http.client")
    >>> green.HTTPConnection is http.client.HTTPConnection, green is greenserve.import_patched("http.client")
    (False, True)
    """
    return _imported.get(name)


def _twin(name: str) -> ModuleType | None:
    return importlib.import_module(f"greenserve.green.{name}") if name in _TWINS else None


def _is_copied(name: str) -> bool:
    package = name.partition(".")[0]
    return package in COPIED or (package not in sys.stdlib_module_names and package not in ("greenserve", "greenlet"))


_imported = Copies(_twin, _is_copied)
