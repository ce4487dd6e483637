"""The real modules, for those that must keep them: asyncio's event loops, and callers of `original`.

Strategy: a patched module's original attributes are laid over the module; modules written in Python, whose functions
would find green ones among their globals, are executed once more over native ones. `KEEPERS` get these by their
import statements: a hook sees to those imported from now on, and the module globals of those imported already are
exchanged.
"""

from __future__ import annotations

import builtins
import functools
import signal
import sys
from abc import ABCMeta
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from greenserve.green import signal as green_signal
from greenserve.green import threading as green_threading
from greenserve.patching.adapters import asyncio
from greenserve.patching.import_hooks import ImportHook
from greenserve.patching.reimport import Copies, Overlay

KEEPERS = frozenset(
    {
        "asyncio",
        "concurrent.futures.process",
        *("trio._core._thread_cache", "trio._core._ki", "trio._core._wakeup_socketpair", "trio._util"),
    }
)
"""Packages and modules whose blocking calls must block: an event loop has its OS thread, and so have its executors and
watchers; and a pool of processes has one that hands out the work, also while such a loop blocks all others. Of trio
only what starts the OS threads of `trio.to_thread`, and what handles signals.
"""

EXECUTED_AGAIN = ("threading", "queue", "selectors", "concurrent.futures.thread")

originals: dict[str, dict[str, Any]] = {}
"""What monkey-patching has replaced: by module, by name (with a dot: of a class's attribute)."""

greens: dict[str, dict[str, Any]] = {}
"""And by what."""


def native(name: str) -> ModuleType:
    """The module `name` with its real primitives."""
    made = _made.get(name)
    if made is None:
        made = _made[name] = _make(name)
        if name == "threading":  # nothing else waits at the exit for threads that this copy starts
            green_threading._native_shutdowns.append(made._shutdown)
    return made


_made: dict[str, ModuleType] = {}


def _make(name: str) -> ModuleType:
    if name in EXECUTED_AGAIN:
        return _copies.get(name)
    module = _import(name)
    if name == "concurrent":
        return Overlay(module, {"futures": native("concurrent.futures")})
    if name == "concurrent.futures":
        thread = native("concurrent.futures.thread")
        # One whose threads are green will do for an event loop as well: isinstance is what asyncio asks.
        executor: Any = ABCMeta("ThreadPoolExecutor", (thread.ThreadPoolExecutor,), {})
        executor.register(_import("concurrent.futures.thread").ThreadPoolExecutor)
        return Overlay(module, {"thread": thread, "ThreadPoolExecutor": executor})
    return _Native(module, originals.get(name, {}), greens.get(name, {}))


class _Native(ModuleType):
    """A patched module as it was. What other code has put there since, such as a test's mock, is seen."""

    def __init__(self, base: ModuleType, real: Mapping[str, Any], green: Mapping[str, Any]) -> None:
        super().__init__(base.__name__, base.__doc__)
        self.__dict__.update(__overlaid__=base, __real__=real, __green__=green)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__dict__["__overlaid__"], name)
        if value is self.__dict__["__green__"].get(name, _nothing):
            return self.__dict__["__real__"][name]
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.__dict__["__overlaid__"])})


_nothing = object()


def _import(name: str) -> ModuleType:
    builtins.__import__(name)
    return sys.modules[name]


def _simple(name: str) -> ModuleType | None:
    return native(name) if name in originals or name in EXECUTED_AGAIN else None


def _substitute(name: str) -> ModuleType | None:
    if name in _for_loops:
        return _for_loops[name]()
    if name in ("os", "sys"):
        # Green, `os` does not block where descriptors do not block, and in another OS thread has a hub there; and `sys`
        # keeps for the green thread what a loop sets.
        return None
    return native(name) if name in ("concurrent", "concurrent.futures") else _simple(name)


@functools.cache
def _selectors() -> ModuleType:
    real = native("selectors")
    return Overlay(real, asyncio.selectors_for_loops(real))


@functools.cache
def _signal() -> ModuleType:
    names = ("signal", "set_wakeup_fd")
    laid = {name: green_signal.in_main_alone(getattr(green_signal, name)) for name in names}
    return Overlay(signal, {**laid, "getsignal": green_signal.getsignal})


@functools.cache
def _threading() -> ModuleType:
    real = native("threading")
    return Overlay(real, asyncio.threading_for_loops(real))


_for_loops: dict[str, Callable[[], ModuleType]] = {"selectors": _selectors, "signal": _signal, "threading": _threading}
_copies = Copies(_simple)  # a copy of concurrent.futures.thread imports the package that we make of it
_keepers = Copies(_substitute)


def keeps(name: str) -> bool:
    """Whether a module, or its package, is one of the KEEPERS."""
    return name in KEEPERS or name.partition(".")[0] in KEEPERS


_hook = ImportHook(keeps, before=_keepers.prepare)


def is_copy(module: ModuleType) -> bool:
    """Whether a module was executed once more over native primitives."""
    return any(module is copy for copy in _copies.modules.values())


def is_native(kind: type) -> bool:
    """Whether a class is one of a module that was executed once more over native primitives."""
    name = type.__dict__["__module__"].__get__(kind)  # as the interpreter has it: a metaclass may say anything
    module = _copies.modules.get(name) if type(name) is str else None
    return module is not None and vars(module).get(type.__dict__["__name__"].__get__(kind)) is kind


def keep_natives() -> None:
    """Give the keepers native modules: those imported already, and those to come."""
    _hook.install()
    for name, module in list(sys.modules.items()):
        if keeps(name) and isinstance(module, ModuleType):
            for attribute, value in list(vars(module).items()):
                if isinstance(value, ModuleType) and value is sys.modules.get(value.__name__):
                    setattr(module, attribute, _substitute(value.__name__) or value)
