"""Fixtures of the end-to-end tests: the real command, as a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.server_process import ServerProcess


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """`start_server(*arguments, **options)`: a running ServerProcess, stopped at the test's end.

    What the process said is printed at the end, which pytest shows for tests that failed.
    """
    servers: list[ServerProcess] = []
    with ExitStack() as stack:

        def start(*arguments: str, **options: Any) -> ServerProcess:
            server = ServerProcess(*arguments, **options)
            servers.append(server)
            return stack.enter_context(server)

        try:
            yield start
        finally:
            for server in servers:
                print(f"--- {' '.join(server.command)}\n{server.output}")
