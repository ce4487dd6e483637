"""Before a server is measured it must answer, and answer rightly: a wrong answer has no speed."""

from __future__ import annotations

import http.client
import time

from benchmarks.scenarios import Scenario

ANSWER_SECONDS = 10
STREAMED_SECONDS = 0.15  # the application rests 300 ms before its last chunk


class WrongAnswer(Exception):
    """The server's answer is not what the application said, or there was none."""


def check(port: int, scenario: Scenario) -> tuple[str, ...]:
    """Ask twice over one connection and compare status and body. What a reader of the numbers should know is returned.

    Raises WrongAnswer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    notes = []
    try:
        _ask(connection, scenario)
        kept = connection.sock
        _ask(connection, scenario)
        if kept is None or connection.sock is not kept:
            notes.append("no keep-alive")
        if scenario.streams and not _streams(connection):
            notes.append("collects the whole stream first")
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"no answer: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    return tuple(notes)


def _ask(connection: http.client.HTTPConnection, scenario: Scenario) -> None:
    if scenario.posts:
        connection.request("POST", "/", body=scenario.posts)
    else:
        connection.request("GET", "/")
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise WrongAnswer(f"status {response.status}")
    if body != scenario.body:
        raise WrongAnswer(f"wrong body: {len(body)} bytes {body[:40]!r}, expected {len(scenario.body)} bytes")


def _streams(connection: http.client.HTTPConnection) -> bool:
    connection.request("GET", "/?pause")
    response = connection.getresponse()
    response.read(1)
    first = time.monotonic()
    response.read()
    return time.monotonic() - first > STREAMED_SECONDS
