"""Reading a program's objects without running the program's code.

An object may be a proxy that asks what is not there, one whose `__dict__` is not a mapping, one that raises at any
access. So classes are read by `type`'s own descriptors, and an object's attributes by those that the interpreter has
put into its class.
"""

from __future__ import annotations

from collections.abc import Callable
from types import GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any, TypeAlias

Layout: TypeAlias = tuple[Callable[[Any], Any] | None, tuple[tuple[str, Any], ...]]
"""What reads the `__dict__` of a class's objects; None: they have none. And their slots: name, descriptor."""

_of_type: Any = type.__dict__
_mro = _of_type["__mro__"].__get__
dict_of_class = _of_type["__dict__"].__get__
_flags = _of_type["__flags__"].__get__
_qualname_of_class = _of_type["__qualname__"].__get__
dict_of_module = vars(ModuleType)["__dict__"].__get__


def module_of_class(kind: type) -> str | None:
    """The name of a class's module, if it has one."""
    module = dict_of_class(kind).get("__module__")  # of a class written in C it is part of its name
    if module is None and not _flags(kind) & _HEAP_TYPE:
        module = _of_type["__module__"].__get__(kind)
    return module if type(module) is str else None


def layout_of(kind: type) -> Layout:
    """How to read the objects of a class."""
    reader: Callable[[Any], Any] | None = None
    if issubclass(kind, type):
        reader = dict_of_class
    elif issubclass(kind, ModuleType):
        reader = dict_of_module
    hidden, slots = reader is not None, []
    for base in _mro(kind):
        for name, value in dict_of_class(base).items():
            native_member = type(value) is GetSetDescriptorType or type(value) is MemberDescriptorType
            if name == "__dict__":
                if not hidden and native_member:
                    reader = value.__get__
                hidden = True
            elif type(value) is MemberDescriptorType and _flags(base) & _HEAP_TYPE:
                slots.append((name, value))
    return reader, tuple(slots)


_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: classes written in Python, and few others


def name_of_module(module: ModuleType) -> Any:
    """What its `__name__` is, a string or not."""
    return dict.get(dict_of_module(module), "__name__")


def label(holder: Any) -> str:
    """How to name a module, a class, or an object by its class, in a warning."""
    kind = type(holder)
    if issubclass(kind, ModuleType):
        return str(name_of_module(holder))
    if issubclass(kind, type):
        kind = holder
    return f"{module_of_class(kind) or '?'}.{_qualname_of_class(kind)}"
