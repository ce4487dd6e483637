"""A real redis-server of the test's own: on a free port, with nothing kept, ended by its pid."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from typing import Self

from tests.conftest import require_program, unused_port

START_SECONDS = 15.0


class RedisServer:
    """A context manager; `kill` and `start` in between make an outage. options: further words of its command line."""

    def __init__(self, *options: str) -> None:
        self._program = require_program("redis-server")
        self._options = options
        self._directory = tempfile.TemporaryDirectory()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = unused_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/3"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [self._program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [*command, "--dir", self._directory.name, *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = self._process.stdout
        assert output is not None
        deadline = time.monotonic() + START_SECONDS
        said = b""
        while b"Ready to accept connections" not in said:
            line = output.readline()
            assert line, f"redis-server ended: {said.decode()}"
            assert time.monotonic() < deadline, said.decode()
            said += line

    def stop(self, signum: int = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signum)
            process.communicate(timeout=10)

    def kill(self) -> None:
        """As a crash would end it."""
        self.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._directory.cleanup()
