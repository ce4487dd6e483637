"""HEAD, 1xx, 204, 205, 206 and 304 as RFC 9110 has them, whatever way the application gives its body.

The judge is h11 as a client: it knows from method and status alone where a response ends, so a byte too many or too few
is an error of the next response.
"""

from __future__ import annotations

import itertools
from io import BytesIO

import h11
import pytest

from tests.server.live import Client, serving

BODY = b"hello, world"
FILE = "a file of the file system"
WAYS = ("list", "pieces", "generator", "write", "like a file", FILE, "nothing")
STATUSES = (
    *("200 OK", "204 No Content", "205 Reset Content", "206 Partial Content", "304 Not Modified", "404 Not Found"),
    "416 Range Not Satisfiable",
)
# A 205 with a body is refused: tests/http.
CASES = [case for case in itertools.product(STATUSES, WAYS) if case != ("205 Reset Content", FILE)]
NO_CONTENT = ("204", "205", "304")


class Application:
    """Answers as the test says."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.status = self.way = ""
        self.headers: list[tuple[str, str]] = []

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", [("X-Next", "yes")])
            return [b"next"]
        write = start_response(self.status, list(self.headers))
        body = BODY if self.status[:3] != "205" else b""
        if self.way == "write":
            write(body)
        answers = {
            "list": lambda: [body],
            "pieces": lambda: [body[:5], body[5:]],
            "generator": lambda: iter([body[:5], b"", body[5:]]),
            "like a file": lambda: environ["wsgi.file_wrapper"](BytesIO(body)),
            FILE: lambda: environ["wsgi.file_wrapper"](open(self.path, "rb")),  # noqa: SIM115 - it is closed
        }
        return answers.get(self.way, list)()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(BODY)
    application = Application(str(path))
    with serving(application) as server:
        yield server, application


def exchange(server, method, target, *, client, connection):
    """One request; returns the response, its fields by lower-case name, and its body."""
    request = h11.Request(method=method, target=target, headers=[("Host", "a")])
    client.send(connection.send(request) + connection.send(h11.EndOfMessage()))
    body = b""
    while type(event := connection.next_event()) is not h11.EndOfMessage:
        if event is h11.NEED_DATA:
            connection.receive_data(client.socket.recv(65536))
        elif type(event) is h11.Response:
            response = event
        else:
            body += event.data
    connection.start_next_cycle()
    return response, {name.decode(): value.decode() for name, value in response.headers}, body


@pytest.mark.parametrize(("status", "way"), CASES)
@pytest.mark.parametrize("declared", [False, True], ids=["length unknown", "length declared"])
def test_a_response_ends_where_its_method_and_its_status_say(served, status, way, declared):
    server, application = served
    application.status, application.way = status, way
    empty = way == "nothing" or status[:3] == "205"
    length = "0" if empty else str(len(BODY))
    application.headers = [("Content-Length", length)] if declared else []
    seen = {}
    with Client(server) as client:
        connection = h11.Connection(h11.CLIENT)
        for method in ("GET", "HEAD", "GET"):
            response, fields, body = exchange(server, method, "/", client=client, connection=connection)
            assert str(response.status_code) == status[:3]
            seen[method] = fields
            assert body == (b"" if empty or method == "HEAD" or status[:3] in NO_CONTENT else BODY)
            following = exchange(server, "GET", "/next", client=client, connection=connection)
            assert (following[0].status_code, following[1]["x-next"], following[2]) == (200, "yes", b"next")
    check_lengths(seen, status[:3], declared=declared, length=length, empty=empty)


def check_lengths(seen, code, *, declared, length, empty):
    """RFC 9110 §8.6, §9.3.2 and §15: what may be said of a length, and that HEAD says what GET says."""
    for fields in seen.values():
        assert not ("content-length" in fields and "transfer-encoding" in fields)
        if code == "204":
            assert not {"content-length", "transfer-encoding"} & set(fields)
        elif code == "304":
            assert fields.get("content-length") == (length if declared else None)
            assert "transfer-encoding" not in fields
        elif declared or code == "205":
            assert fields["content-length"] == length
    get, head = ({name: value for name, value in seen[method].items() if name != "date"} for method in ("GET", "HEAD"))
    if not empty:
        assert head == get


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints", "199 x"])
def test_an_interim_status_is_no_response(served, status):
    server, application = served
    application.status, application.way, application.headers = status, "list", []
    with Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response()[0] == 500


@pytest.mark.parametrize(("method", "code"), [*itertools.product(("GET", "HEAD"), ("204", "304"))])
def test_what_an_application_gives_where_nothing_may_be_is_dropped(served, method, code):
    server, application = served
    application.status, application.way, application.headers = f"{code} x", "generator", [("Content-Length", "3")]
    with Client(server) as client:
        client.send(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 2)
        for _ in range(2):
            status, fields, _ = client.response(body=False)
            assert status == int(code)
            assert fields.get("content-length") == (None if code == "204" else "3")
