"""A steady load on several workers: what was answered, by which worker, and what was not."""

from __future__ import annotations

import re
import threading
from types import TracebackType
from typing import Self

from tests.e2e.server_process import ServerProcess
from tests.faults.raw import Raw
from tests.waiting import until_blocking
from tests.wire import get

PAUSE = 0.005  # seconds between two requests of a client
_MOST = 20_000  # requests of one client


class SteadyLoad:
    """Clients that ask `/` one request after the other, until the end; a context manager.

    The application answers with the pid of its process. answered: how many were. failed: of each request that was not
    answered, the pid of the worker that the connection belonged to, 0 if that was not known. refused: connections.
    """

    def __init__(self, server: ServerProcess, clients: int = 6) -> None:
        self.answered = 0
        self.failed: list[int] = []
        self.refused = 0
        self.workers: dict[int, int] = {}  # by pid: requests since `fresh`
        self._server = server
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until_blocking(lambda: self.answered > 20)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def all_serve(self, count: int, without: int = 0) -> set[int]:
        """Wait until so many workers answer, by their pids; none of them is `without`."""
        with self._lock:
            self.workers = {}
        until_blocking(lambda: len(self.workers.keys() - {without}) >= count, step=0.05)
        return set(self.workers)

    def _ask_on(self) -> None:
        for _ in range(_MOST):
            if self._end.is_set():
                return
            try:
                connection = Raw(self._server.host, self._server.port, 30.0)
            except ConnectionRefusedError:
                with self._lock:
                    self.refused += 1
                self._end.wait(PAUSE)
                continue
            pid = self._use(connection)
            if pid is not None:
                with self._lock:
                    self.failed.append(pid)
            connection.close()

    def _use(self, connection: Raw) -> int | None:
        """Some requests over a connection. Returns the pid of its worker if one of them was not answered."""
        pid = 0
        for _ in range(10):
            try:
                connection.send(get("/"))
                status, fields = connection.head()
                body = connection.file.read(int(fields.get("content-length", 0)))
            except OSError:
                return pid
            if status != 200:
                return pid
            pid = int(re.findall(rb"\d+", body)[0])
            with self._lock:
                self.answered += 1
                self.workers[pid] = self.workers.get(pid, 0) + 1
            if fields.get("connection") == "close" or self._end.wait(PAUSE):
                return None
        return None
