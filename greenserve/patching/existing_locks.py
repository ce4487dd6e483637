"""What was made before the patch: locks are made green where that is possible, and the rest is named.

Strategy: a holder of an original lock refers to it by an attribute, of a module, a class or an object, or by a method
bound to it; all of these are looked up among what the garbage collector knows, once. A reentrant lock tells its owner
and its count, and these go over to its successor. A plain lock that is held stays: its holder is unknown.
"""

from __future__ import annotations

import contextlib
import gc
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from types import (
    BuiltinMethodType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    ModuleType,
)
from typing import Any, TypeAlias

from greenserve.green import _thread as green_thread
from greenserve.hub import native
from greenserve.hub.lock import Lock
from greenserve.patching import originals

OriginalLock: Any = type(native.allocate_lock())
OriginalRLock: Any = native.RLock

EXEMPT = ("greenserve", "asyncio", "multiprocessing", "importlib", "_frozen_importlib", "click")
"""Packages that hold originals on purpose: ours, those whose own loops and processes need them, and click, whose
thread-local belongs to the command line that has run before anything is patched.
"""

OTHER_HUBS = ("gevent", "eventlet", "trio", "curio", "twisted")
"""Packages that have a way of their own to wait, built on the originals."""


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
        return f"{_label(self.holder)}.{self.name}"


def _places(candidates: list[Any]) -> Iterator[_Place]:
    """The attributes of all candidates that refer to locks: in their `__dict__`, in slots, of classes."""
    layouts: dict[int, _Layout] = {}  # by identity: a metaclass may make its classes unhashable
    for candidate in candidates:
        kind = type(candidate)
        if kind is dict or kind is list or kind is tuple or kind is set or kind is BuiltinMethodType:
            continue
        layout = layouts.get(id(kind))
        if layout is None:
            layout = layouts[id(kind)] = _layout(kind)
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


# Any object of the program's may be among the candidates: a proxy that asks what is not there, one whose `__dict__` is
# not a mapping, one that raises at any access. So nothing here runs the program's code: classes are read by `type`'s
# own descriptors, and an object's attributes by those that the interpreter has put into its class.

_Layout: TypeAlias = tuple[Callable[[Any], Any] | None, tuple[tuple[str, Any], ...]]

_of_type: Any = type.__dict__
_mro = _of_type["__mro__"].__get__
_dict_of_class = _of_type["__dict__"].__get__
_flags = _of_type["__flags__"].__get__
_qualname_of_class = _of_type["__qualname__"].__get__
_of_module: Any = ModuleType.__dict__
_dict_of_module = _of_module["__dict__"].__get__


def _module_of_class(kind: type) -> str | None:
    module = _dict_of_class(kind).get("__module__")  # of a class written in C it is part of its name
    if module is None and not _flags(kind) & _HEAP_TYPE:
        module = _of_type["__module__"].__get__(kind)
    return module if type(module) is str else None


def _layout(kind: type) -> _Layout:
    """How to read the `__dict__` of objects of this class, if they have one; and their slots."""
    reader: Callable[[Any], Any] | None = None
    if issubclass(kind, type):
        reader = _dict_of_class
    elif issubclass(kind, ModuleType):
        reader = _dict_of_module
    hidden, slots = reader is not None, []
    for base in _mro(kind):
        for name, value in _dict_of_class(base).items():
            native_member = type(value) is GetSetDescriptorType or type(value) is MemberDescriptorType
            if name == "__dict__":
                if not hidden and native_member:
                    reader = value.__get__
                hidden = True
            elif type(value) is MemberDescriptorType and _flags(base) & _HEAP_TYPE:
                slots.append((name, value))
    return reader, tuple(slots)


_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: classes written in Python, and few others


def _kept(holder: Any) -> bool:
    kind = type(holder)
    if issubclass(kind, ModuleType):
        return originals.is_copy(holder) or _is_of(_name_of_module(holder), EXEMPT)
    if issubclass(kind, type):
        kind = holder
    return originals.is_of_copy(kind) or _is_of(_module_of_class(kind), EXEMPT)


def _is_of(module: Any, keepers: Iterable[str]) -> bool:
    return type(module) is str and (module.partition(".")[0] in keepers or module == "_thread")


def _name_of_module(module: ModuleType) -> Any:
    return dict.get(_dict_of_module(module), "__name__")


def _successor(lock: Any, entered: dict[int, int]) -> Any:
    """A green lock in the same state; None: that cannot be."""
    if type(lock) is OriginalLock:
        return None if lock.locked() else Lock()
    green = green_thread.RLock()
    match = re.search(r"owner=(\d+) count=(\d+)", repr(lock))
    owner, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if owner == 0 or count == 0:
        return green
    if owner != native.get_ident():
        return None
    for _ in range(count - entered.get(id(lock), 0)):
        green.acquire()
    return green


def _label(holder: Any) -> str:
    kind = type(holder)
    if issubclass(kind, ModuleType):
        return str(_name_of_module(holder))
    if issubclass(kind, type):
        kind = holder
    return f"{_module_of_class(kind) or '?'}.{_qualname_of_class(kind)}"


def upgrade_holders(replaced: dict[int, tuple[str, Any]]) -> list[str]:
    """Look for attributes of modules and classes, and defaults of functions, that refer to what has been replaced (its
    identity: its name, its replacement).

    The defaults are replaced, and the attributes of the standard library's. Returns the other attributes, as
    "module.attribute (name)": we know too little of them to do the same.
    """
    left: list[str] = []
    modules: dict[str, Any] = dict(sys.modules)  # which may hold None, and objects that are not modules
    for name, module in modules.items():
        if issubclass(type(module), ModuleType) and not _is_settled(name):
            namespace = _dict_of_module(module)
            for attribute, value in list(namespace.items()):
                if id(value) in replaced:
                    what, green = replaced[id(value)]
                    if _is_stdlib(name):
                        namespace[attribute] = green
                    else:
                        left.append(f"{name}.{attribute} ({what})")
    for candidate in gc.get_objects():
        kind = type(candidate)
        if kind is FunctionType:
            _upgrade_defaults(candidate, replaced)
        elif issubclass(kind, type):
            left += _upgrade_class(candidate, replaced)
    return left


def _upgrade_class(kind: type, replaced: dict[int, tuple[str, Any]]) -> list[str]:
    left: list[str] = []
    module = _module_of_class(kind)
    if module is None or _is_settled(module) or originals.is_of_copy(kind):
        return left
    for name, value in list(_dict_of_class(kind).items()):
        if id(value) not in replaced:
            continue
        what, green = replaced[id(value)]
        if not _is_stdlib(module):
            left.append(f"{_label(kind)}.{name} ({what})")
            continue
        if type(green) is FunctionType and type(value) is not FunctionType:
            green = staticmethod(green)  # a builtin function is not a method, wherever it is found
        with contextlib.suppress(TypeError):  # a class written in C
            type.__setattr__(kind, name, green)
    return left


def _upgrade_defaults(function: FunctionType, replaced: dict[int, tuple[str, Any]]) -> None:
    """Defaults are an abbreviation: they are not compared, or looked for elsewhere."""
    positional, named = function.__defaults__ or (), function.__kwdefaults__ or {}
    if not any(id(value) in replaced for value in (*positional, *named.values())):
        return
    module = dict.get(function.__globals__, "__name__")
    if type(module) is not str or _is_settled(module) or module.partition(".")[0] in OTHER_HUBS:
        return
    if positional:
        function.__defaults__ = tuple(replaced.get(id(value), ("", value))[1] for value in positional)
    for name, value in named.items():
        named[name] = replaced.get(id(value), ("", value))[1]


def _is_stdlib(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _is_settled(module: str) -> bool:
    """Whether a module keeps originals, or has been dealt with: those that are patched hold the originals."""
    if module.partition(".")[0] in EXEMPT and not module.startswith("multiprocessing"):
        return True
    return module in _SOURCES or module in originals.replaced or originals.keeps(module)


_SOURCES = frozenset({"posix", "nt", "_socket", "_ssl", "_queue", "_thread", "select"})
"""Where the originals come from."""
