"""What was made before the patch: locks are made green where that is possible, and the rest is named.

Strategy: whoever holds a real lock refers to it by an attribute, of a module, a class or an object, or by a method
bound to it; all of these are looked up among what the garbage collector knows, once. A reentrant lock tells its owner
and its count, and these go over to its successor. A plain lock that is held stays: nobody knows by whom.
"""

from __future__ import annotations

import gc
import re
import sys
import threading
from collections.abc import Iterator
from types import BuiltinMethodType, ModuleType
from typing import Any

from greenserve.green import _natives
from greenserve.green import _thread as green_thread
from greenserve.hub import native
from greenserve.hub.lock import Lock
from greenserve.hub.rlock import RLock

RealLock: Any = type(native.allocate_lock())
RealRLock: Any = native.RLock

KEEPERS = ("greenserve", "asyncio", "multiprocessing", "importlib", "_frozen_importlib", "click")
"""Packages that hold real primitives on purpose: ours, those whose own loops and processes need them, and click, whose
thread-local belongs to the command line that has run before anything is patched.
"""


def upgrade_locks() -> list[str]:
    """Put green locks in the place of real ones. Returns the names of what could not be upgraded."""
    left: list[str] = []
    _main_thread()
    greens: dict[int, Any] = {}
    candidates = gc.get_objects()
    entered = _entered(candidates)
    for holder, namespace in _namespaces(candidates):
        for name, value in list(namespace.items()):
            lock = value.__self__ if type(value) is BuiltinMethodType else value
            if type(lock) is not RealLock and type(lock) is not RealRLock:
                continue
            green = greens.get(id(lock)) or _successor(lock, entered)
            if green is None:
                left.append(f"{_label(holder)}.{name} (held)")
                continue
            greens[id(lock)] = green
            _set(holder, name, green if lock is value else getattr(green, value.__name__))
    del candidates
    return left


def real_locks() -> list[str]:
    """The names of what refers to real locks now, apart from what keeps them on purpose."""
    found = set()
    for holder, namespace in _namespaces(gc.get_objects()):
        for name, value in namespace.items():
            lock = value.__self__ if type(value) is BuiltinMethodType else value
            if type(lock) is RealLock or type(lock) is RealRLock:
                found.add(f"{_label(holder)}.{name}")
    return sorted(found)


def _main_thread() -> None:
    """Let green threads join the main thread, and enumerate themselves, without real locks."""
    main: Any = threading.main_thread()
    if hasattr(main, "_tstate_lock"):
        sentinel = green_thread._Sentinel()
        sentinel.acquire()
        waited_for: set[Any] = threading._shutdown_locks  # type: ignore[attr-defined]  # up to 3.12
        waited_for.discard(main._tstate_lock)
        waited_for.add(sentinel)
        main._tstate_lock = sentinel
    elif hasattr(main, "_handle"):
        main._handle = green_thread._make_thread_handle(main.ident)


def _entered(candidates: list[Any]) -> dict[int, int]:
    """For each lock that somebody is inside of by `with`: how often. On leaving, the statement releases that very
    lock.
    """
    counts: dict[int, int] = {}
    for candidate in candidates:
        if type(candidate) is BuiltinMethodType and candidate.__name__ == "__exit__":
            lock = candidate.__self__
            if type(lock) is RealRLock or type(lock) is RealLock:
                counts[id(lock)] = counts.get(id(lock), 0) + 1
    return counts


def _namespaces(candidates: list[Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """What has attributes that refer to locks, with these."""
    wanted = (RealLock, RealRLock)
    for candidate in candidates:
        kind = type(candidate)
        if kind is dict or kind is list or kind is tuple or kind is set or kind is BuiltinMethodType:
            continue
        if _kept(candidate):
            continue
        try:
            namespace = vars(candidate)
        except Exception:  # noqa: S112 - it has none, or is a proxy, which asks somebody who is not there
            continue
        for value in namespace.values():
            if type(value) in wanted or (type(value) is BuiltinMethodType and type(value.__self__) in wanted):
                yield candidate, dict(namespace)
                break


def _kept(holder: Any) -> bool:
    if isinstance(holder, ModuleType):
        if _natives.is_copy(holder):
            return True
        module = holder.__name__
    else:
        kind = holder if isinstance(holder, type) else type(holder)
        if _natives.is_native(kind):
            return True
        module = kind.__module__
    return isinstance(module, str) and (module.partition(".")[0] in KEEPERS or module == "_thread")


def _successor(lock: Any, entered: dict[int, int]) -> Any:
    """A green lock in the same state; None: that cannot be."""
    if type(lock) is RealLock:
        return None if lock.locked() else Lock()
    green = RLock()
    match = re.search(r"owner=(\d+) count=(\d+)", repr(lock))
    owner, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if owner == 0 or count == 0:
        return green
    if owner != native.get_ident():
        return None
    for _ in range(count - entered.get(id(lock), 0)):
        green.acquire()
    return green


def _set(holder: Any, name: str, value: Any) -> None:
    try:
        setattr(holder, name, value)
    except (AttributeError, TypeError):  # a class written in C
        return


def _label(holder: Any) -> str:
    if isinstance(holder, ModuleType):
        return holder.__name__
    kind = holder if isinstance(holder, type) else type(holder)
    return f"{kind.__module__}.{kind.__qualname__}"


def upgrade_holders(replaced: dict[int, tuple[str, Any]]) -> list[str]:
    """Look for module attributes that refer to what has been replaced (its identity: its name, its replacement).

    Those of the standard library's modules are replaced too. Returns the others, as "module.attribute (name)": we know
    too little of them to do the same.
    """
    left: list[str] = []
    modules: dict[str, Any] = dict(sys.modules)  # which may hold None, and objects that are no modules
    for name, module in modules.items():
        package = name.partition(".")[0]
        if not isinstance(module, ModuleType) or package in KEEPERS or name in _SOURCES:
            continue
        for attribute, value in list(vars(module).items()):
            if id(value) not in replaced:
                continue
            what, green = replaced[id(value)]
            if package in sys.stdlib_module_names:
                setattr(module, attribute, green)
            else:
                left.append(f"{name}.{attribute} ({what})")
    return left


_SOURCES = frozenset({"posix", "nt", "_socket", "_ssl", "_queue", "_thread", "select"})
"""Where the real primitives come from."""
