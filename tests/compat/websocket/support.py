"""Where the applications are, and how their servers are started: as a user would, by the command, patched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.e2e.server_process import ServerProcess

APPS = Path(__file__).parent / "apps"
REPOSITORY = Path(__file__).resolve().parents[3]


def started(module: str, *options: str) -> ServerProcess:
    """A server of apps/MODULE.py; a context manager. The package is imported from the checkout."""
    return ServerProcess(
        f"{module}:app",
        *options,
        "--access-log",
        "-",
        "--graceful-timeout",
        "5",
        cwd=APPS,
        env={"PYTHONPATH": str(REPOSITORY)},
    )


def websocket_url(server: ServerProcess, path: str) -> str:
    return server.url.replace("http", "ws", 1) + path


def ended_well(server: ServerProcess) -> None:
    """After the server has stopped: in order, and without an error of its own."""
    assert server.returncode == 0, server.output
    assert "Traceback" not in server.output
    assert "ERROR" not in server.output


def node(script: str, *arguments: str) -> str:
    """Run JavaScript with the packages `ws` and `socket.io-client`; what it prints.

    NODE_PATH names the node_modules that has them. Without node, or without these, the test skips; fails in CI.
    """
    program = shutil.which("node") or missing("node is not installed")
    modules = os.environ.get("NODE_PATH", "")
    if not all((Path(modules) / name).is_dir() for name in ("ws", "socket.io-client")):
        missing("NODE_PATH does not name a node_modules with ws and socket.io-client (see .ci/run)")
    done = subprocess.run(
        [program, "-e", script, *arguments], capture_output=True, text=True, timeout=40, env=os.environ | {"LANG": "C"}
    )
    if done.returncode:
        pytest.fail(f"node ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout
