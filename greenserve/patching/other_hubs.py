"""Eventlet and gevent in a process that greenserve serves or has patched: two hubs in one OS thread block each other.

Strategy: an application written for them often differs in its first lines alone, which patch the standard library.
Such a call is left without effect, and so is one made through psycogreen; where the application waits in the other
library's own hub all the same, that is said. Each is logged with its line, so that it can be removed. A program that
has been patched by them before cannot be put right: `disarm` refuses it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from greenserve.errors import ConfigurationError
from greenserve.hub.core import originals
from greenserve.patching.import_hooks import adapt

# Module -> how the names of its functions that patch begin.
_PATCHING = {
    "eventlet.patcher": "monkey_patch",
    "eventlet.support.psycopg2_patcher": "make_psycopg_green",
    "gevent.monkey": "patch_",
    "psycogreen.eventlet": "patch_psycopg",
    "psycogreen.gevent": "patch_psycopg",
}
# Module -> its class of hubs.
_HUBS = {"eventlet.hubs.hub": "BaseHub", "gevent.hub": "Hub"}
_LIBRARIES = {"greenserve", "eventlet", "gevent", "psycogreen"}

warnings: list[str] = []
"""What has been said, for `greenserve check`."""


def disarm() -> None:
    """From now on nothing of another hub's is patched in. Twice is harmless.

    Raises ConfigurationError when that has happened already.
    """
    refusal = originals.patched_by_another()
    if refusal is not None:
        raise ConfigurationError(refusal)
    for name, prefix in _PATCHING.items():
        adapt(name, functools.partial(_disarm_module, prefix))
    if "eventlet" in sys.modules:  # it has a copy; not by `adapt`, whose loader would be what its own warning names
        _disarm_module("monkey_patch", sys.modules["eventlet"])
    for name, kind in _HUBS.items():
        adapt(name, functools.partial(_watch, kind))


def _disarm_module(prefix: str, module: ModuleType) -> None:
    for name, value in list(vars(module).items()):
        if name.startswith(prefix) and callable(value) and not hasattr(value, "without_effect"):
            setattr(module, name, _without_effect(f"{module.__name__.removesuffix('.patcher')}.{name}()", value))


def _without_effect(call: str, function: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(function)
    def ignored(*_: Any, **__: Any) -> None:
        _say(
            f"{call} is without effect under greenserve, which has green threads of its own and patches the standard "
            "library by itself (unless it is told not to); remove the call"
        )

    ignored.without_effect = True  # type: ignore[attr-defined]  # a mark, so that nothing is wrapped twice
    return ignored


_watched: set[str] = set()


def _watch(kind: str, module: ModuleType) -> None:
    """Say where the first hub of the other library is made, which is where something waits in it for the first time."""
    package = module.__name__.partition(".")[0]
    if package in _watched:
        return
    _watched.add(package)
    hub_class: Any = getattr(module, kind)
    init = hub_class.__init__

    @functools.wraps(init)
    def first(*args: Any, **kwargs: Any) -> None:
        hub_class.__init__ = init
        _say(
            f"{package}'s own hub starts here: its green threads do not run beside greenserve's, and what waits in it "
            f"stops all requests. docs/from_{package}.md has greenserve's name for each of {package}'s"
        )
        init(*args, **kwargs)

    hub_class.__init__ = first


def _say(what: str) -> None:
    warning = f"{_place()}: {what}"
    warnings.append(warning)
    import logging  # noqa: PLC0415 - for this rare case alone; green threads start without it

    logging.getLogger("greenserve.green").warning("%s", warning)


def _place() -> str:
    """The innermost line that belongs neither to the libraries nor to us."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"
