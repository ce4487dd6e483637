"""Every example runs as it is, with the real command, and answers real requests."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.conftest import missing
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import REPOSITORY, ServerProcess

EXAMPLES = REPOSITORY / "examples"
TIMEOUT = 20  # seconds, for each read of each request

Start = Callable[..., ServerProcess]


@pytest.fixture(params=["from the repository", "from its directory"])
def start_example(request: pytest.FixtureRequest, start_server: StartServer) -> Start:
    """`start_example("hello_wsgi")`: the example's server, started in both ways that its README names."""
    beside = request.param == "from its directory"

    def start(name: str, *arguments: str) -> ServerProcess:
        reference = f"{name}:app" if beside else f"examples.{name}:app"
        return start_server(reference, *arguments, cwd=EXAMPLES if beside else REPOSITORY)

    return start


@pytest.fixture(autouse=True)
def nothing_goes_wrong_unseen(start_server: StartServer) -> Iterator[None]:
    """Whatever the test asserted: no traceback in the log, and the exit code of an orderly stop."""
    yield
    for server in start_server.servers:
        assert server.stop() == 0
        assert "Traceback" not in server.output


def require_package(name: str) -> None:
    if find_spec(name) is None:
        missing(f"the package {name} is not installed")


def get(server: ServerProcess, path: str, **options: object) -> requests.Response:
    return requests.get(server.url + path, timeout=TIMEOUT, **options)  # type: ignore[arg-type]


def test_hello_wsgi(start_example: Start) -> None:
    server = start_example("hello_wsgi")
    answer = get(server, "/")
    assert answer.status_code == 200
    assert answer.text.startswith("Hello from greenserve/")
    assert get(server, "/?seconds=x").status_code == 400


def test_a_sleeper_of_hello_wsgi_stops_nobody(start_server: StartServer) -> None:
    server = start_server("examples.hello_wsgi:app")
    with ThreadPoolExecutor() as pool:
        sleeper = pool.submit(get, server, "/?seconds=3")
        while not sleeper.done():
            assert get(server, "/").status_code == 200
            if not sleeper.done():
                break
        else:
            pytest.fail("no request was answered while another one slept")
        assert sleeper.result().status_code == 200


def test_flask_app(start_example: Start) -> None:
    require_package("flask")
    server = start_example("flask_app")
    assert get(server, "/").json() == {"hello": "Flask", "notes": f"{server.url}/notes"}
    assert requests.post(f"{server.url}/notes", json={"text": "grün"}, timeout=TIMEOUT).status_code == 201
    assert get(server, "/notes").json() == ["grün"]
    assert requests.post(f"{server.url}/notes", json=["no"], timeout=TIMEOUT).status_code == 400
    assert get(server, "/countdown").text == "3\n2\n1\ngo\n"


def test_a_view_of_flask_app_may_call_its_own_server(start_server: StartServer) -> None:
    require_package("flask")
    # Two requests in progress are all that it needs: the one that gathers and the one that it asks.
    server = start_server("examples.flask_app:app", "--concurrency", "2")
    assert get(server, "/gather").json()["answer"] == {"slept": 1}


def test_django_app(start_example: Start) -> None:
    require_package("django")
    server = start_example("django_app")
    index = get(server, "/").json()
    assert (index["hello"], index["host"]) == ("Django", f"127.0.0.1:{server.port}")
    assert get(server, "/slow").json() == {"slept": 1}
    assert get(server, "/stream").text == "line 1\nline 2\nline 3\n"
    files = {"file": ("a.bin", os.urandom(3_000_000))}
    assert requests.post(f"{server.url}/upload", files=files, timeout=TIMEOUT).json() == {"a.bin": 3_000_000}
    assert get(server, "/", headers={"Host": "elsewhere.example"}).status_code == 400


def test_falcon_app(start_example: Start) -> None:
    require_package("falcon")
    server = start_example("falcon_app")
    assert get(server, "/quotes/1").json()["text"].startswith("Explicit")
    assert get(server, "/quotes/7").status_code == 404
    put = requests.put(f"{server.url}/quotes/7", json={"text": "Flat."}, timeout=TIMEOUT)
    assert (put.status_code, put.json()) == (201, {"number": 7, "text": "Flat."})
    assert get(server, "/quotes/7").json()["text"] == "Flat."
    assert requests.put(f"{server.url}/quotes/7", json=[], timeout=TIMEOUT).status_code == 400
    assert get(server, "/slow").json() == {"slept": 1}


def events(answer: requests.Response) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        else:
            yield event
            event = {}


def test_streaming(start_example: Start) -> None:
    server = start_example("streaming")
    assert "EventSource" in get(server, "/").text
    assert get(server, "/nowhere").status_code == 404
    with get(server, "/events", stream=True, headers={"Last-Event-ID": "41"}) as answer:
        received = events(answer)
        first, second = next(received), next(received)
    assert (first["id"], second["id"]) == ("42", "43")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} 1", first["data"])


def test_a_listener_of_streaming_that_goes_away_is_forgotten(start_server: StartServer) -> None:
    server = start_server("examples.streaming:app")
    with get(server, "/events", stream=True) as staying:
        counts = (int(event["data"].split()[1]) for event in events(staying))
        assert next(counts) == 1
        with get(server, "/events", stream=True) as leaving:
            next(events(leaving))
            assert 2 in counts  # consumes the events up to the first that says so
        assert 1 in counts


def test_streaming_ends_its_feeds_when_the_server_stops(start_server: StartServer) -> None:
    server = start_server("examples.streaming:app", "--graceful-timeout", "60")
    with get(server, "/events", stream=True) as answer:
        received = events(answer)
        next(received)
        assert server.stop() == 0  # gracefully, though the feed had no end of its own
        assert all(event for event in received)


def socket_of(server: ServerProcess, path: str, origin: Origin | None = None) -> ClientConnection:
    return connect(server.url.replace("http://", "ws://") + path, origin=origin, proxy=None)


def test_chat(start_example: Start) -> None:
    server = start_example("chat")
    assert "new WebSocket" in get(server, "/").text
    assert get(server, "/nowhere").status_code == 404
    assert get(server, "/socket").status_code == 426
    with socket_of(server, "/socket?name=Ada") as ada:
        assert json.loads(ada.recv(TIMEOUT)) == {"members": ["Ada"]}
        with (
            socket_of(server, "/socket?name=Grace") as grace,
            socket_of(server, "/socket?name=Alan&room=b") as alan,
        ):
            assert json.loads(ada.recv(TIMEOUT)) == {"members": ["Ada", "Grace"]}
            assert json.loads(grace.recv(TIMEOUT)) == {"members": ["Ada", "Grace"]}
            assert json.loads(alan.recv(TIMEOUT)) == {"members": ["Alan"]}
            grace.send(b"no text")
            grace.send("grün")
            for client in (ada, grace):
                assert json.loads(client.recv(TIMEOUT)) == {"name": "Grace", "text": "grün"}
        assert json.loads(ada.recv(TIMEOUT)) == {"members": ["Ada"]}


def test_flask_chat(start_example: Start) -> None:
    require_package("flask")
    server = start_example("flask_chat")
    assert "new WebSocket" in get(server, "/").text
    with socket_of(server, "/socket/lobby") as ada, socket_of(server, "/socket/lobby") as grace:
        grace.send("hello")
        assert ada.recv(TIMEOUT) == grace.recv(TIMEOUT) == "hello"
    with (
        pytest.raises(InvalidStatus) as refused,
        socket_of(server, "/socket/lobby", origin=Origin("https://example.com")),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_upload(start_example: Start) -> None:
    server = start_example("upload")
    body = os.urandom(5_000_000)
    expected = {"name": "/a.bin", "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    whole = requests.put(f"{server.url}/a.bin", data=body, timeout=TIMEOUT)
    assert (whole.status_code, whole.json()) == (201, expected)
    pieces = (body[start : start + 70_000] for start in range(0, len(body), 70_000))
    chunked = requests.put(f"{server.url}/a.bin", data=pieces, timeout=TIMEOUT)
    assert (chunked.status_code, chunked.json()) == (201, expected)
    assert get(server, "/a.bin").status_code == 405


def test_the_readme_lists_every_example() -> None:
    listed = set(re.findall(r"\]\((\w+\.py)\)", Path(EXAMPLES / "README.md").read_text("utf-8")))
    assert listed == {path.name for path in EXAMPLES.glob("*.py")}
