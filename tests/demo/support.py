"""Calls the demo as a server would, under wsgiref's validator, and a clock that moves only by sleeping."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from greenserve.demo import application

checked = validator(application)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


def environ_of(method: str, path: str, body: bytes | None = None, **more: Any) -> dict[str, Any]:
    target, _, query = path.partition("?")
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": target}
    environ["QUERY_STRING"] = query
    setup_testing_defaults(environ)
    environ["SERVER_NAME"] = "127.0.0.1"
    if body is not None:
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ | more


@contextmanager
def begun(method: str, path: str, body: bytes | None = None, **more: Any) -> Iterator[tuple[Answer, Any]]:
    """An answer whose body is not yet read, and the body's iterator; closed at the end, as a server does."""
    seen: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        seen[:] = [int(status.partition(" ")[0]), dict(headers)]
        return seen.append

    pieces = checked(environ_of(method, path, body, **more), start_response)
    try:
        iterator = iter(pieces)
        yield Answer(*seen, b""), iterator
    finally:
        pieces.close()


def call(method: str, path: str, body: bytes | None = None, **more: Any) -> Answer:
    with begun(method, path, body, **more) as (answer, pieces):
        answer.body = b"".join(pieces)
    return answer


class Clock:
    """Stands for the module `time`: sleeping is what moves it. overrun: seconds that every sleep takes too long."""

    def __init__(self, overrun: float = 0.0) -> None:
        self.now = 1000.0
        self.overrun = overrun
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.sleeps.append(seconds)
        self.now += seconds + self.overrun
