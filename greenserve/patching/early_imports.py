"""What the program has imported by name before the patch: attributes and defaults that still refer to originals."""

from __future__ import annotations

import contextlib
import gc
import sys
from types import FunctionType, ModuleType
from typing import Any

from greenserve.patching import originals
from greenserve.patching.existing_locks import EXEMPT
from greenserve.patching.static_inspection import dict_of_class, dict_of_module, label, module_of_class

OTHER_HUBS = ("gevent", "eventlet", "trio", "curio", "twisted")
"""Packages that have a way of their own to wait, built on the originals."""


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
            namespace = dict_of_module(module)
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
    module = module_of_class(kind)
    if module is None or _is_settled(module) or originals.is_of_copy(kind):
        return left
    for name, value in list(dict_of_class(kind).items()):
        if id(value) not in replaced:
            continue
        what, green = replaced[id(value)]
        if not _is_stdlib(module):
            left.append(f"{label(kind)}.{name} ({what})")
            continue
        if type(green) is FunctionType and type(value) is not FunctionType:
            green = staticmethod(green)  # a builtin function is not a method, wherever it is found
        with contextlib.suppress(TypeError):  # a class written in C
            type.__setattr__(kind, name, green)
    return left


def _upgrade_defaults(function: FunctionType, replaced: dict[int, tuple[str, Any]]) -> None:
    """Defaults are an abbreviation: they are not compared, or looked for elsewhere."""
    positional, named = function.__defaults__, function.__kwdefaults__
    if positional is None and named is None:
        return
    positional, named = positional or (), named or {}
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


_SOURCES = frozenset({"posix", "_socket", "_ssl", "_queue", "_thread", "select"})
"""Where the originals come from."""
