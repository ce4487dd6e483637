"""The public names: importing them changes nothing in the process, each is where it is said to be, and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import greenserve
import greenserve.hub
from tests.test_house import NAMES, PACKAGE

# What another program could notice of a process. Threads are counted by the system, if it has /proc.
LOOK = """
import json, os, signal, sys, threading, warnings
import select, selectors, socket, ssl, subprocess, time

def look():
    def names(path):
        return sorted(os.listdir(path)) if os.path.isdir(path) else []
    modules = (os, queue, select, selectors, signal, socket, ssl, subprocess, sys, threading, time)
    attributes = {
        f"{module.__name__}.{name}": id(value) for module in modules for name, value in vars(module).items()
        if callable(value)
    }
    return {
        "attributes": attributes,
        "signal handlers": {int(number): repr(signal.getsignal(number)) for number in signal.valid_signals()},
        "wakeup fd": wakeup_fd(),
        "threads": names("/proc/self/task"),
        "descriptors": names("/proc/self/fd"),
        "warning filters": repr(warnings.filters),
        "hooks": [repr(hook) for hook in (sys.excepthook, threading.excepthook, sys.gettrace(), sys.getprofile())],
        "switch interval": sys.getswitchinterval(),
        "environment": dict(os.environ),
    }

def wakeup_fd():
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    return before

import queue
before = look()
import greenserve
after = look()
json.dump([name for name in before if before[name] != after[name]], sys.stdout)
"""


def run(program: str) -> Any:
    """What a program of its own prints as JSON."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_greenserve_changes_nothing_in_the_process() -> None:
    assert run(LOOK) == []


def test_importing_all_public_names_changes_nothing_in_the_process() -> None:
    assert run(LOOK.replace("import greenserve\n", "from greenserve import *\n")) == []


def test_importing_greenserve_imports_neither_the_network_nor_the_server() -> None:
    modules = set(run("import greenserve, json, sys; print(json.dumps(list(sys.modules)))"))
    assert "greenserve.hub" in modules
    assert not modules & {"ssl", "socket", "asyncio", "h11", "wsproto", "click", "logging", "greenserve.server"}


def test_what_is_imported_at_first_use_is_what_type_checkers_are_told() -> None:
    tree = ast.parse(Path(greenserve.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told: dict[str, str | None] = {}
    modules = set()
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            if node.module == "greenserve":
                modules.add(alias.name)
            else:
                told[alias.name] = node.module
    assert told == greenserve._HOMES
    assert modules == set(greenserve._MODULES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'greenserve' has no attribute 'spwan'"):
        greenserve.spwan  # noqa: B018


def test_dir_has_the_names_that_are_imported_at_first_use() -> None:
    assert set(greenserve.__all__) <= set(run("import greenserve, json; print(json.dumps(dir(greenserve)))"))


@pytest.mark.parametrize("name", sorted(name for name in NAMES if (PACKAGE / f"{name}.py").exists()))
def test_a_module_of_names_has_the_names_that_it_says_and_makes_none_of_its_own(name: str) -> None:
    module = importlib.import_module(f"greenserve.{name}")
    tree = ast.parse(Path(module.__file__ or "").read_text())
    kinds = {type(node) for node in tree.body}
    assert kinds == {ast.Expr, ast.ImportFrom, ast.Assign}  # the docstring, the imports, __all__
    assert all(hasattr(module, each) for each in module.__all__)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("event", ["Event"]),
        ("greenpool", ["GreenPile", "GreenPool"]),
        ("greenthread", ["GreenThread", "getcurrent", "kill", "sleep", "spawn", "spawn_after", "spawn_after_local"]),
        ("patcher", ["import_patched", "is_monkey_patched", "monkey_patch", "original"]),
        ("pools", ["Pool", "TokenPool"]),
        ("queue", ["Empty", "Full", "LifoQueue", "LightQueue", "PriorityQueue", "Queue"]),
        ("semaphore", ["BoundedSemaphore", "Semaphore"]),
        ("timeout", ["Timeout", "is_timeout", "with_timeout"]),
        ("tpool", ["Proxy", "execute"]),
    ],
)
def test_eventlets_module_names_have_what_eventlets_modules_have(module: str, names: list[str]) -> None:
    assert set(names) <= set(importlib.import_module(f"greenserve.{module}").__all__)


def documentable(module: ModuleType) -> list[tuple[str, Any]]:
    """Everything of ours in `module.__all__`, methods and properties of its classes included."""
    found: list[tuple[str, Any]] = []
    for name in module.__all__:
        value = getattr(module, name)
        if not getattr(value, "__module__", "greenserve").startswith("greenserve"):
            continue  # an exception of the standard library's
        if inspect.isclass(value):
            found.append((name, value))
            found += [
                (f"{name}.{attribute}", member)
                for attribute, member in vars(value).items()
                if attribute[0] != "_" and (inspect.isroutine(member) or isinstance(member, property))
            ]
        elif inspect.isroutine(value) or inspect.ismodule(value):
            found.append((name, value))
    return found


@pytest.mark.parametrize("module", [greenserve, greenserve.hub], ids=lambda module: str(module.__name__))
def test_every_public_name_has_a_docstring(module: ModuleType) -> None:
    everything = documentable(module)
    assert len(everything) > len(module.__all__)
    assert [name for name, value in everything if not (value.__doc__ or "").strip()] == []
