"""Locks made before the patch: they are made green where that is possible, and the rest is named.

Strategy: a holder of an original lock refers to it by an attribute, of a module, a class or an object, or by a method
bound to it; all of these are looked up among what the garbage collector knows, once. A reentrant lock tells its owner
and its count, and these go over to its successor. A plain lock that is held stays: its holder is unknown.
"""

from __future__ import annotations

import contextlib
import gc
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from types import BuiltinMethodType, MappingProxyType, ModuleType
from typing import Any

from greenserve.green import _thread as green_thread
from greenserve.hub.core.originals import RLock, allocate_lock, get_ident
from greenserve.hub.sync.lock import Lock
from greenserve.patching import originals
from greenserve.patching.static_inspection import Layout, label, layout_of, module_of_class, name_of_module

OriginalLock: Any = type(allocate_lock())
OriginalRLock: Any = RLock

EXEMPT = ("greenserve", "asyncio", "multiprocessing", "importlib", "_frozen_importlib", "click")
"""Packages that hold originals on purpose: ours, those whose own loops and processes need them, and click, whose
thread-local belongs to the command line that has run before anything is patched.
"""


def upgrade_locks() -> list[str]:
    """Put green locks in the place of original ones. Returns the names of what could not be upgraded."""
    left: list[str] = []
    _main_thread()
    greens: dict[int, Any] = {}
    candidates = gc.get_objects()
    entered = _entered(candidates)
    for place in _places(candidates):
        lock = place.lock
        green = greens.get(id(lock)) or _successor(lock, entered)
        if green is None:
            left.append(f"{place.label} (held)")
            continue
        greens[id(lock)] = green
        successor = green if lock is place.value else getattr(green, place.value.__name__, None)
        if successor is None:  # a method that has been deprecated since Python 2
            left.append(place.label)
            continue
        with contextlib.suppress(AttributeError, TypeError):  # a class written in C
            place.put(successor)
    del candidates
    return left


def original_locks() -> list[str]:
    """The names of what refers to an original lock by mistake: waiting for it blocks all green threads."""
    return sorted({place.label for place in _places(gc.get_objects())})


def _main_thread() -> None:
    """Let green threads join the main thread, and enumerate themselves, without original locks."""
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
    """For each lock that is held by a `with` statement: how often. On leaving, the statement releases that very
    lock.
    """
    counts: dict[int, int] = {}
    for candidate in candidates:
        if type(candidate) is BuiltinMethodType and candidate.__name__ == "__exit__":
            lock = candidate.__self__
            if type(lock) is OriginalRLock or type(lock) is OriginalLock:
                counts[id(lock)] = counts.get(id(lock), 0) + 1
    return counts


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something refers to a lock, or to a method bound to one."""

    holder: Any
    name: str
    value: Any
    put: Callable[[Any], None]

    @property
    def lock(self) -> Any:
        return self.value.__self__ if type(self.value) is BuiltinMethodType else self.value

    @property
    def label(self) -> str:
        return f"{label(self.holder)}.{self.name}"


def _places(candidates: list[Any]) -> Iterator[_Place]:
    """The attributes of all candidates that refer to locks: in their `__dict__`, in slots, of classes."""
    layouts: dict[int, Layout] = {}  # by identity: a metaclass may make its classes unhashable
    for candidate in candidates:
        kind = type(candidate)
        if kind is dict or kind is list or kind is tuple or kind is set or kind is BuiltinMethodType:
            continue
        layout = layouts.get(id(kind))
        if layout is None:
            layout = layouts[id(kind)] = layout_of(kind)
        reader, slots = layout
        found = _in_slots(candidate, slots) if slots else []
        if reader is not None:
            namespace = reader(candidate)
            for value in _values(namespace):
                kind = type(value)
                if (kind is OriginalLock or kind is OriginalRLock or kind is BuiltinMethodType) and _is_lock(value):
                    found += _in_namespace(candidate, namespace)
                    break
        if found and not _kept(candidate):
            yield from found


def _in_slots(candidate: Any, slots: Iterable[tuple[str, Any]]) -> list[_Place]:
    found: list[_Place] = []
    for name, slot in slots:
        try:
            value = slot.__get__(candidate)
        except AttributeError:  # empty
            continue
        if _is_lock(value):
            found.append(_Place(candidate, name, value, partial(slot.__set__, candidate)))
    return found


def _in_namespace(candidate: Any, namespace: Any) -> list[_Place]:
    return [
        _Place(candidate, name, value, partial(_put, candidate, namespace, name))
        for name, value in list(dict.items(namespace) if issubclass(type(namespace), dict) else namespace.items())
        if _is_lock(value)
    ]


def _values(namespace: Any) -> Iterable[Any]:
    """The values of a `__dict__`: an object's, or a class's."""
    kind = type(namespace)
    if kind is dict or kind is MappingProxyType:
        return namespace.values()  # type: ignore[no-any-return]  # what these two return
    return dict.values(namespace) if issubclass(kind, dict) else ()


def _is_lock(value: Any) -> bool:
    kind = type(value)
    if kind is BuiltinMethodType:
        kind = type(value.__self__)
    return kind is OriginalLock or kind is OriginalRLock


def _put(holder: Any, namespace: Any, name: str, value: Any) -> None:
    if issubclass(type(holder), type):
        type.__setattr__(holder, name, value)
    else:
        dict.__setitem__(namespace, name, value)


def _kept(holder: Any) -> bool:
    kind = type(holder)
    if issubclass(kind, ModuleType):
        return originals.is_copy(holder) or _is_of(name_of_module(holder), EXEMPT)
    if issubclass(kind, type):
        kind = holder
    return originals.is_of_copy(kind) or _is_of(module_of_class(kind), EXEMPT)


def _is_of(module: Any, keepers: Iterable[str]) -> bool:
    return type(module) is str and (module.partition(".")[0] in keepers or module == "_thread")


def _successor(lock: Any, entered: dict[int, int]) -> Any:
    """A green lock in the same state; None: that cannot be."""
    if type(lock) is OriginalLock:
        return None if lock.locked() else Lock()
    green = green_thread.RLock()
    match = re.search(r"owner=(\d+) count=(\d+)", repr(lock))
    owner, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if owner == 0 or count == 0:
        return green
    if owner != get_ident():
        return None
    for _ in range(count - entered.get(id(lock), 0)):
        green.acquire()
    return green
