"""The original modules, for those that must keep them: asyncio's event loops, and callers of `original`.

Strategy: a patched module's original attributes are laid over the module; modules written in Python, whose functions
would find green ones among their globals, are executed once more over originals. `KEEPERS` get these by their import
statements: a hook sees to those imported from now on, and the module globals of those imported already are exchanged.
"""

from __future__ import annotations

import functools
import importlib
import signal
import sys
from abc import ABCMeta
from collections.abc import Callable
from types import ModuleType
from typing import Any

from greenserve.green import signal as green_signal
from greenserve.green import threading as green_threading
from greenserve.patching.adapters import asyncio
from greenserve.patching.import_hooks import ImportHook, Loader
from greenserve.patching.reimport import Copies, Exchanged, Overlay

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

replaced: dict[str, dict[str, tuple[Any, Any]]] = {}
"""By module and name (with a dot: of a class's attribute): what is green now, and its original."""


def original(name: str) -> Any:
    """The original module `name`, whether it is patched or not; e.g. `original("threading").Thread`, or
    `original("concurrent.futures").ThreadPoolExecutor`, for OS threads.

    >>> import threading
    >>> threading.Thread is greenserve.original("threading").Thread  # as long as nothing is patched
    True
    """
    return _original(name) if replaced else importlib.import_module(name)


def _original(name: str) -> ModuleType:
    made = _made.get(name)
    if made is None:
        made = _made[name] = _make(name)
        if name == "threading":  # nothing else waits at the exit for threads that this copy starts
            green_threading._copies_shutdowns.append(made._shutdown)
    return made


_made: dict[str, ModuleType] = {}


def _make(name: str) -> ModuleType:
    if name in EXECUTED_AGAIN:
        return _copies.get(name)
    module = importlib.import_module(name)
    if name == "concurrent":
        return Overlay(module, {"futures": _original("concurrent.futures")})
    if name == "concurrent.futures":
        thread = _original("concurrent.futures.thread")
        # One whose threads are green will do for an event loop as well: isinstance is what asyncio asks.
        executor: Any = ABCMeta("ThreadPoolExecutor", (thread.ThreadPoolExecutor,), {})
        executor.register(importlib.import_module("concurrent.futures.thread").ThreadPoolExecutor)
        return Overlay(module, {"thread": thread, "ThreadPoolExecutor": executor})
    return Exchanged(module, replaced.get(name, {}))


def _for_copies(name: str) -> ModuleType | None:
    return _original(name) if name in replaced or name in EXECUTED_AGAIN else None


def _for_keepers(name: str) -> ModuleType | None:
    if name in _for_loops:
        return _for_loops[name]()
    if name in ("os", "sys"):
        # Green, `os` does not block where descriptors do not block, and in another OS thread has a hub there; and `sys`
        # keeps for the green thread what a loop sets.
        return None
    return _original(name) if name in ("concurrent", "concurrent.futures") else _for_copies(name)


@functools.cache
def _selectors() -> ModuleType:
    selectors = _original("selectors")
    return Overlay(selectors, asyncio.selectors_for_loops(selectors))


@functools.cache
def _signal() -> ModuleType:
    names = ("signal", "set_wakeup_fd")
    laid = {name: green_signal.in_main_alone(getattr(green_signal, name)) for name in names}
    return Overlay(signal, {**laid, "getsignal": green_signal.getsignal})


@functools.cache
def _threading() -> ModuleType:
    threading = _original("threading")
    return Overlay(threading, asyncio.threading_for_loops(threading))


_for_loops: dict[str, Callable[[], ModuleType]] = {"selectors": _selectors, "signal": _signal, "threading": _threading}
_copies = Copies(_for_copies)  # a copy of concurrent.futures.thread imports the package that we make of it
_keepers = Copies(_for_keepers)


def keeps(name: str) -> bool:
    """Whether a module, or its package, is one of the KEEPERS."""
    return name in KEEPERS or name.partition(".")[0] in KEEPERS


def _execute_over_originals(loader: Loader, module: ModuleType) -> None:
    _keepers.prepare(module)
    loader.exec_module(module)


_hook = ImportHook(keeps, _execute_over_originals)


def is_copy(module: ModuleType) -> bool:
    """Whether a module was executed once more over originals."""
    return any(module is copy for copy in _copies.modules.values())


def is_of_copy(kind: type) -> bool:
    """Whether a class is one of a module that was executed once more over originals."""
    name = type.__dict__["__module__"].__get__(kind)  # as the interpreter has it: a metaclass may say anything
    module = _copies.modules.get(name) if type(name) is str else None
    return module is not None and vars(module).get(type.__dict__["__name__"].__get__(kind)) is kind


def keep_originals() -> None:
    """Give the keepers original modules: those imported already, and those to come."""
    _hook.install()
    for name, module in list(sys.modules.items()):
        if keeps(name) and isinstance(module, ModuleType):
            for attribute, value in list(vars(module).items()):
                if isinstance(value, ModuleType) and value is sys.modules.get(value.__name__):
                    setattr(module, attribute, _for_keepers(value.__name__) or value)
