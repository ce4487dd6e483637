"""Before it accepts connections, a worker asks its application whether it is ready. In virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import greenserve
from greenserve import testing
from greenserve.errors import LoadError
from greenserve.hub.core.hub import current_hub
from greenserve.server.worker import Worker
from greenserve.server.worker_state import WorkerState
from greenserve.settings import Settings


class Life:
    """A worker's, until it is ready; what its application was asked, and when."""

    def __init__(self, answer: Callable[[int], str], **options: object) -> None:
        self.asked: list[tuple[float, str]] = []
        self.environ: dict[str, object] = {}
        self.ready_at: float | None = None
        self._answer = answer
        with testing.virtual_time() as self._clock:
            self._began = self._clock()
            self.worker = Worker(current_hub(), self._application, Settings(ready_path="/ready?full", **options))  # type: ignore[arg-type]
            self.worker.run([], self._ready)
            self.ended_at = self._clock() - self._began

    def _application(self, environ, start_response) -> Iterator[bytes]:  # type: ignore[no-untyped-def]
        self.asked.append((round(self._clock() - self._began), f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"))
        self.environ = environ
        start_response(self._answer(len(self.asked)), [])
        yield b""

    def _ready(self) -> None:
        self.ready_at = self._clock() - self._began
        self.worker.drain()


def test_it_is_ready_when_it_is_answered_well() -> None:
    life = Life(lambda number: "503 Service Unavailable" if number < 4 else "204 No Content")
    assert [path for _, path in life.asked] == ["/ready?full"] * 4
    assert life.ready_at is not None
    assert 1.5 <= life.ready_at < 3
    assert life.worker.state is WorkerState.STOPPED
    assert life.environ["HTTP_HOST"] == "localhost"
    assert life.environ["wsgi.url_scheme"] == "http"


@pytest.mark.parametrize("status", ["500 Internal Server Error", "302 Found", "404 Not Found"])
def test_it_ends_when_it_is_never_answered_well(status: str) -> None:
    with pytest.raises(LoadError, match=rf"not ready within 5 s .* /ready\?full with {status[:3]}"):
        Life(lambda _: status, ready_timeout=5)


def test_an_application_that_does_not_answer_is_not_waited_for_longer() -> None:
    def answer(number: int) -> str:
        greenserve.sleep(1000)
        return "200 OK"

    with pytest.raises(LoadError, match="with nothing"):
        Life(answer, ready_timeout=5)


def test_an_error_of_the_application_is_an_answer_of_500() -> None:
    def answer(number: int) -> str:
        raise RuntimeError("the database is away")

    with pytest.raises(LoadError, match="with 500"):
        Life(answer, ready_timeout=2)


def test_a_worker_that_is_to_stop_asks_no_more() -> None:
    life: list[Life] = []

    class Stopped(Life):
        def __init__(self, answer: Callable[[int], str]) -> None:
            life.append(self)
            super().__init__(answer)

    def answer(number: int) -> str:
        if number == 2:
            current_hub().call_soon(life[0].worker.drain)
        return "503 Service Unavailable"

    Stopped(answer)
    assert len(life[0].asked) == 2
    assert life[0].ready_at is None
    assert life[0].worker.state is WorkerState.STOPPED
