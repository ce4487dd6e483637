"""Before a server is measured it must answer, and answer rightly: a wrong answer has no speed."""

from __future__ import annotations

import http.client
import time
from http.cookies import SimpleCookie

from benchmarks.answers import Answer
from benchmarks.scenarios import Scenario
from benchmarks.traffic import MISSING_EVERY, POST_EVERY, SESSION, Request

ANSWER_SECONDS = 10
STREAMED_SECONDS = 0.15  # the application rests 300 ms before its last chunk
KINDS = MISSING_EVERY * POST_EVERY  # so many requests in turn are of every kind that a scenario has


class WrongAnswer(Exception):
    """The server's answer is not what the application said, or there was none."""


def check(port: int, scenario: Scenario, session: str = "") -> tuple[str, ...]:
    """Ask over one connection and compare each answer. What a reader of the numbers should know is returned.

    session: the cookie of a login, where the requests carry one. Raises WrongAnswer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    notes, kept = [], set()
    try:
        for request in first_requests(scenario):
            _ask(connection, request, scenario.answer(request), session)
            kept.add(connection.sock)
        if len(kept) > 1 or None in kept:
            notes.append("no keep-alive")
        if scenario.streams and not _streams(connection):
            notes.append("collects the whole stream first")
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"no answer: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    return tuple(notes)


def log_in(port: int) -> str:
    """The session cookie that the application gives at its login. Raises WrongAnswer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/login")
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"no answer to the login: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    cookie = SimpleCookie(response.getheader("Set-Cookie", "")).get("session")
    if response.status != 200 or cookie is None:
        raise WrongAnswer(f"the login brought no session: status {response.status}")
    return cookie.coded_value


def first_requests(scenario: Scenario) -> list[Request]:
    """The first requests of a scenario, of every kind that it has, and at least two."""
    if scenario.traffic is not None:
        return [scenario.traffic.request(number) for number in range(KINDS)]
    fields = (("Content-Length", str(len(scenario.posts))),) if scenario.posts else ()
    return [Request("POST" if scenario.posts else "GET", "/", (("Host", "127.0.0.1"), *fields), scenario.posts)] * 2


def _ask(connection: http.client.HTTPConnection, request: Request, answer: Answer, session: str) -> None:
    connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
    for name, value in request.fields:
        connection.putheader(name, value.replace(SESSION, session))
    connection.endheaders(request.body or None)
    response = connection.getresponse()
    body = response.read()
    asked = "" if request.target == "/" else f" for {request.target}"
    if response.status != answer.status:
        raise WrongAnswer(f"status {response.status}{asked}")
    if not answer.has_body(body):
        raise WrongAnswer(f"wrong body{asked}: {len(body)} bytes {body[:40]!r}, expected {answer.body[:40]!r}")
    for name, value in answer.fields:
        if response.getheader(name) != value:
            raise WrongAnswer(f"{name}: {response.getheader(name)}{asked}, expected {value}")


def _streams(connection: http.client.HTTPConnection) -> bool:
    connection.request("GET", "/?pause")
    response = connection.getresponse()
    response.read(1)
    first = time.monotonic()
    response.read()
    return time.monotonic() - first > STREAMED_SECONDS
