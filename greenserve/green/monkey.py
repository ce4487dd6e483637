"""Monkey-patching: the standard library's blocking modules made green in place, so that ordinary code is concurrent.

ONE table, TABLE, says what replaces what. `monkey_patch` should be the program's first act: a module that has
imported a real primitive by name before keeps it, and is named in a warning.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from dataclasses import dataclass
from operator import attrgetter
from types import ModuleType, SimpleNamespace
from typing import Any

from greenserve.errors import ConfigurationError

_RESOLVER = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")


@dataclass(frozen=True, slots=True)
class Patch:
    """In `module`, `names` (of attributes; with a dot: of a class's) are replaced by the same names of
    `greenserve.green.<module>`; those that a platform lacks are not.
    """

    module: str
    names: tuple[str, ...]


TABLE: dict[str, tuple[Patch, ...]] = {
    "socket": (
        Patch("socket", ("socket", "fromfd", "socketpair", "create_connection", *_RESOLVER)),
        # Not SSLContext: its properties say `super(SSLContext, SSLContext)`, which must go on meaning the class
        # itself. This way contexts that exist already make green sockets too.
        Patch("ssl", ("SSLSocket", "SSLContext.sslsocket_class", "socket", "create_connection")),
    ),
    "select": (
        Patch("select", ("select", "poll", "epoll")),
        Patch("selectors", ("SelectSelector", "PollSelector", "EpollSelector", "KqueueSelector", "DefaultSelector")),
    ),
    "time": (Patch("time", ("sleep",)),),
}
"""What `monkey_patch(**which)` may name, and what each does."""

_MISSING = object()
_originals: dict[str, dict[str, Any]] = {}


class LatePatchWarning(RuntimeWarning):
    """Something had imported real primitives before they were patched, and still uses them."""


def monkey_patch(**which: bool) -> None:
    """Make the standard library's blocking calls green, in this whole process.

    which: names of TABLE. None given: all. Some True: these alone. Some False: all but these. `all` stands for the
    rest. Twice is harmless. Warns (LatePatchWarning) of modules that hold what has just been replaced. Raises
    ConfigurationError for a name that is not in TABLE.
    """
    groups = [group for group in _chosen(which) if not is_monkey_patched(group)]
    patches = [patch for group in groups for patch in TABLE[group]]
    # All twins first: they are made of what is still real.
    twins = {patch.module: importlib.import_module(f"greenserve.green.{patch.module}") for patch in patches}
    replaced: dict[int, str] = {}
    for patch in patches:
        replaced |= _apply(patch, importlib.import_module(patch.module), twins[patch.module])
    if replaced:
        _warn_of_holders(replaced)


def _chosen(which: dict[str, bool]) -> list[str]:
    unknown = sorted(which.keys() - TABLE.keys() - {"all"})
    if unknown:
        raise ConfigurationError(
            f"monkey_patch does not know {', '.join(unknown)}; it knows {', '.join(sorted(TABLE))} and all"
        )
    rest = which.get("all", not any(which.values()))
    return [group for group in TABLE if which.get(group, rest)]


def _apply(patch: Patch, module: ModuleType, twin: ModuleType) -> dict[int, str]:
    """Replace, and return the identities of what was replaced, with their names."""
    saved = _originals.setdefault(patch.module, {})
    replaced = {}
    for name in patch.names:
        owner, _, attribute = name.rpartition(".")
        holder: Any = getattr(module, owner) if owner else module
        real = getattr(holder, attribute, _MISSING)
        if real is _MISSING or name in saved:
            continue
        green = attrgetter(name)(twin)
        if green is real:
            continue
        saved[name] = real
        setattr(holder, attribute, green)
        replaced[id(real)] = f"{patch.module}.{name}"
    return replaced


def is_monkey_patched(name: str) -> bool:
    """Whether a group of TABLE, or a module that one of them patches, is patched."""
    modules = [patch.module for patch in TABLE.get(name, ())] or [name]
    return all(module in _originals for module in modules)


def original(name: str) -> Any:
    """The module `name` as it was: a namespace of its real attributes, whether it is patched or not.

    Its functions still look up their own globals in the module; use it for classes and built-in functions.
    """
    module = importlib.import_module(name)
    return SimpleNamespace(**{**vars(module), **_originals.get(name, {})})


_KEEPERS = ("greenserve", "asyncio", "multiprocessing", "importlib", "encodings")
"""Packages that hold real primitives on purpose: ours, and those whose own loops and processes need them."""


def _warn_of_holders(replaced: dict[int, str]) -> None:
    held: list[str] = []
    modules: dict[str, Any] = dict(sys.modules)  # which may hold None, and objects that are no modules
    for name, module in modules.items():
        if (
            not isinstance(module, ModuleType)
            or name.partition(".")[0] in _KEEPERS
            or name in _originals
            or name[0] == "_"
        ):
            continue
        for attribute, value in list(vars(module).items()):
            if id(value) in replaced:
                held.append(f"{name}.{attribute} ({replaced[id(value)]})")
    if held:
        warnings.warn(
            "patched too late for these, which stay blocking: "
            + ", ".join(sorted(held))
            + "; call greenserve.monkey_patch() before they are imported",
            LatePatchWarning,
            stacklevel=3,
        )
