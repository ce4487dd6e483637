"""Fixtures of the end-to-end tests: the real command, as a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.server_process import ServerProcess


class StartServer:
    """`start_server(*arguments, **options)`: a running ServerProcess, stopped at the test's end.

    servers: those started so far.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.servers: list[ServerProcess] = []
        self._stack = stack

    def __call__(self, *arguments: str, **options: Any) -> ServerProcess:
        server = ServerProcess(*arguments, **options)
        self.servers.append(server)
        return self._stack.enter_context(server)


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """A StartServer. What its processes said is printed at the end, which pytest shows for tests that failed."""
    with ExitStack() as stack:
        start = StartServer(stack)
        try:
            yield start
        finally:
            for server in start.servers:
                print(f"--- {' '.join(server.command)}\n{server.output}")
