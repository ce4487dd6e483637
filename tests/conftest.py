"""What every test may rely on: no settings from outside, and one way of saying that the system lacks something.

A test that needs a program or the HTTP cases skips with its reason on a user's machine. With CI=true that is a failure:
a test that is always skipped is never run. CI_WITHOUT names the parts that a machine is known to lack, `autobahn` say.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import hypothesis
import pytest

from greenserve import codec
from greenserve.hub.core.hub import Hub, use_hub

# A shell that starts the tests in the background has them ignore SIGINT, and their children with them (POSIX §2.11).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent
CI = os.environ.get("CI") == "true"

# No deadline: how long an example takes says how busy the machine is. Under CI the examples are the same in every run,
# so that a failure is the change's own.
hypothesis.settings.register_profile("greenserve", deadline=None, derandomize=CI, database=None)
hypothesis.settings.load_profile("greenserve")


def pytest_report_header() -> str:
    """Which codec is tested."""
    return f"greenserve: {codec.DESCRIPTION}"


def missing(reason: str, part: str = "") -> NoReturn:
    """Skip the running test for `reason`; under CI=true fail it, unless CI_WITHOUT names the `part`."""
    without = os.environ.get("CI_WITHOUT", "").split()
    if os.environ.get("CI") == "true" and part not in without:  # not the constant: its own tests change the variable
        pytest.fail(f"{reason}; under CI nothing may be missing", pytrace=False)
    pytest.skip(reason)


def require_program(name: str) -> str:
    """The path of a program, /usr/sbin included (where nginx is); without it the running test skips, or fails in CI."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))
    return path or missing(f"the program {name} is not installed")


def require_http_cases() -> Path:
    """The directory of the raw HTTP cases, beside the checkout; without it the test skips, or fails in CI."""
    directory = REPOSITORY.parent / "shared" / "http_cases"
    return directory if directory.is_dir() else missing(f"the HTTP cases are not at {directory}", "http-cases")


def require_codec() -> ModuleType:
    """The compiled codec, whether it is used or not; without it the test skips, or fails in CI."""
    if codec.compiled is None and os.environ.get(codec.VARIABLE) != "python":
        missing(f"this needs the compiled codec: {codec.REASON}")
    try:
        return import_module("greenserve._codec")
    except ImportError as error:
        missing(f"this needs the compiled codec: {error}")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables that set options: the tests' servers have their defaults."""
    for name in filter(is_of_an_option, list(os.environ)):
        monkeypatch.delenv(name)


def is_of_an_option(variable: str) -> bool:
    """Whether it has a say in a server's settings. GREENSERVE_CODEC has not: a run of the tests is for one codec."""
    return variable == "PORT" or (variable.startswith("GREENSERVE_") and variable != codec.VARIABLE)


def unused_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago. Prefer port 0 where the server says which one it got."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A fresh hub of this OS thread."""
    yield use_hub(Hub())
    use_hub(Hub())


@pytest.fixture
def free_port() -> int:
    """`unused_port()` as a fixture."""
    return unused_port()


@pytest.fixture
def http_cases() -> Path:
    """`require_http_cases()` as a fixture."""
    return require_http_cases()
