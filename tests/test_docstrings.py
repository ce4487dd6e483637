"""The public names' docstrings show how they are used, and what they show is what happens."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import greenserve
from greenserve import debug, net, rooms, testing, tpool, websocket
from tests.conftest import REPOSITORY

CERTIFICATE = REPOSITORY / "tests" / "certificates" / "localhost.pem"

# These patch the process, or handle its signals, so they have one of their own.
IN_A_PROCESS = ("greenserve.monkey_patch", "greenserve.serve", "greenserve.debug.dump_on_signal")

# What a program does not call or make itself: it gets them, catches them, or implements them.
WITHOUT = {
    *("greenserve.BrokenBarrierError", "greenserve.Empty", "greenserve.Full", "greenserve.ShutDown"),
    "greenserve.Request",
    *("greenserve.websocket.CloseCode", "greenserve.websocket.ConnectionClosed", "greenserve.websocket.Policy"),
    *("greenserve.websocket.HandshakeFailed", "greenserve.websocket.HandshakeRejected"),
    *("greenserve.websocket.WebSocketError", "greenserve.debug.BlockingWatcher"),
    *("greenserve.rooms.Bus", "greenserve.rooms.Listener", "greenserve.rooms.Subscriber"),
    *("greenserve.rooms.Member", "greenserve.rooms.Room"),
    *("greenserve.rooms.attach", "greenserve.rooms.check", "greenserve.rooms.detach"),
    *("greenserve.rooms.on_join", "greenserve.rooms.on_leave"),
    *("greenserve.testing.Connection", "greenserve.testing.MemorySocket", "greenserve.testing.Network"),
    "greenserve.testing.VirtualClock",
}


def public() -> dict[str, Any]:
    """Every class and function of the public modules, by its full name."""
    modules: tuple[ModuleType, ...] = (greenserve, debug, net, rooms, testing, tpool, websocket)
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in modules
        for name in module.__all__
        if inspect.isclass(getattr(module, name)) or inspect.isroutine(getattr(module, name))
    }


def example_of(name: str) -> doctest.DocTest:
    documentation = inspect.getdoc(public()[name]) or ""
    names = {"greenserve": greenserve, "certfile": str(CERTIFICATE), "keyfile": str(CERTIFICATE)}
    return doctest.DocTestParser().get_doctest(documentation, names, name, None, 0)


def run(name: str) -> str:
    """What is not as the docstring of `name` says."""
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example_of(name), out=said.append)
    return "".join(said)


@pytest.mark.parametrize("name", [name for name in public() if name not in WITHOUT])
def test_what_a_docstring_shows_is_what_happens(name: str) -> None:
    assert example_of(name).examples, "no example"
    if name in IN_A_PROCESS:
        code = f"from tests.test_docstrings import run; print(run({name!r}), end='')"
        command = (sys.executable, "-c", code)  # warns that this is late to patch
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=50)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    else:
        assert run(name) == ""


def test_those_without_an_example_are_public() -> None:
    assert set(public()) >= WITHOUT
