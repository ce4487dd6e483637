"""What frameworks and validators ask of WSGI: wsgiref's own, Flask's files and teardown, uploads, odd paths."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from wsgiref.validate import validator

import pytest
import requests

from tests.server.live import Client, serving

flask = pytest.importorskip("flask")

CONTENT = bytes(range(256)) * 4000


@pytest.mark.parametrize("kind", ["list", "generator", "write", "file", "empty"])
@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["get", "head", "post", "chunked", "options"],
)
def test_the_validator_of_the_standard_library_is_content(kind, request_head, tmp_path, caplog):
    path = tmp_path / "file"
    path.write_bytes(b"hello")

    def application(environ, start_response):
        environ["wsgi.input"].read(10)
        print("a line", file=environ["wsgi.errors"])
        environ["wsgi.errors"].flush()
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        if kind == "generator":
            return (piece for piece in (b"hel", b"lo"))
        if kind == "write":
            write(b"hello")
            return []
        if kind == "file":
            return environ["wsgi.file_wrapper"](path.open("rb"))
        return [b"hello"] if kind == "list" else []

    with serving(validator(application)) as server, Client(server) as client:
        client.send(request_head)
        status, _, body = client.response(body=not request_head.startswith(b"HEAD"))
        assert (status, body) == (200, b"" if kind == "empty" or request_head.startswith(b"HEAD") else b"hello")
    assert not caplog.records


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("//a", "//a", ""),
        ("/%2e%2e/", "/../", ""),
        ("/..", "/..", ""),
        ("/%00", "/\x00", ""),
        ("/?", "/", ""),
        ("/?a=%20b&c", "/", "a=%20b&c"),
        ("/a;params=1", "/a;params=1", ""),
        ("/%E4%B8%AD", "/中".encode().decode("latin-1"), ""),
        ("/%zz%4", "/%zz%4", ""),
        ("/a%2Fb", "/a/b", ""),
        ("http://other/x?y", "/x", "y"),
        ("http://other", "/", ""),
    ],
)
def test_odd_paths_are_decoded_once_and_kept_raw_beside(target, path, query):
    def application(environ, start_response):
        start_response("200 OK", [])
        keys = ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "RAW_URI", "SERVER_PROTOCOL", "HTTP_HOST")
        return [json.dumps({key: environ[key] for key in keys}).encode()]

    with serving(application) as server, Client(server) as client:
        found = json.loads(client.get(target))
    assert found["PATH_INFO"] == path
    assert (found["SCRIPT_NAME"], found["QUERY_STRING"], found["RAW_URI"]) == ("", query, target)
    assert found["HTTP_HOST"] == ("other" if target.startswith("http") else "test")


@pytest.fixture
def flask_server(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    app = flask.Flask(__name__)
    app.torn_down = []  # type: ignore[attr-defined]
    app.closed = []  # type: ignore[attr-defined]

    @app.teardown_request
    def torn_down(error):
        app.torn_down.append(flask.request.path)

    @app.get("/file")
    def file():
        return flask.send_file(path, conditional=True)

    @app.post("/upload")
    def upload():
        stored = flask.request.files["file"]
        digest, size = hashlib.sha256(), 0
        while piece := stored.stream.read(65536):
            digest.update(piece)
            size += len(piece)
        return {"size": size, "sha256": digest.hexdigest(), "field": flask.request.form["field"]}

    @app.get("/stream")
    def stream():
        def pieces():
            yield from (b"x" * 1000 for _ in range(100))

        response = flask.Response(flask.stream_with_context(pieces()))
        response.call_on_close(lambda: app.closed.append("stream"))
        return response

    with serving(app) as server:
        yield app, server


def test_flask_sends_files_ranges_and_304(flask_server):
    _, server = flask_server
    with requests.Session() as session:
        whole = session.get(server.url + "/file", timeout=10)
        assert whole.content == CONTENT
        part = session.get(server.url + "/file", headers={"Range": "bytes=1000-1999"}, timeout=10)
        assert (part.status_code, part.content) == (206, CONTENT[1000:2000])
        tail = session.get(server.url + "/file", headers={"Range": "bytes=-10"}, timeout=10)
        assert (tail.status_code, tail.content) == (206, CONTENT[-10:])
        wrong = session.get(server.url + "/file", headers={"Range": "bytes=99999999-"}, timeout=10)
        assert wrong.status_code == 416
        same = session.get(server.url + "/file", headers={"If-None-Match": whole.headers["ETag"]}, timeout=10)
        assert (same.status_code, same.content) == (304, b"")
        head = session.head(server.url + "/file", timeout=10)
        assert (head.headers["Content-Length"], head.content) == (str(len(CONTENT)), b"")
        same = session.head(server.url + "/file", headers={"If-None-Match": whole.headers["ETag"]}, timeout=10)
        assert same.status_code == 304
        assert session.get(server.url + "/file", timeout=10).content == CONTENT


def test_flask_takes_large_uploads(flask_server):
    _, server = flask_server
    content = os.urandom(5 << 20)
    answer = requests.post(
        server.url + "/upload", files={"file": ("a.bin", content)}, data={"field": "ü"}, timeout=20
    ).json()
    assert answer == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "field": "ü"}


def test_flask_tears_down_and_closes_also_when_the_client_leaves(flask_server):
    app, server = flask_server
    with requests.Session() as session:
        assert len(session.get(server.url + "/stream", timeout=10).content) == 100_000
    with Client(server) as client:
        client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(1000):
        if len(app.closed) == 2:
            break
        threading.Event().wait(0.01)
    assert app.closed == ["stream"] * 2
    assert set(app.torn_down) == {"/stream"}  # stream_with_context has its own


DJANGO = """
import hashlib
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", FILE_UPLOAD_MAX_MEMORY_SIZE=1000,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.http.ConditionalGetMiddleware"])

def upload(request):
    digest = hashlib.sha256()
    for piece in request.FILES["file"].chunks():
        digest.update(piece)
    return JsonResponse({"sha256": digest.hexdigest()})

def stream(request):
    return StreamingHttpResponse(b"x" * 1000 for _ in range(100))

def file(request):
    return FileResponse(open(__file__, "rb"))

urlpatterns = [path("upload", upload), path("stream", stream), path("file", file)]
app = get_wsgi_application()
"""

FALCON = """
import hashlib, falcon

class Upload:
    def on_post(self, request, response):
        digest = hashlib.sha256()
        while piece := request.bounded_stream.read(65536):
            digest.update(piece)
        response.media = {"sha256": digest.hexdigest()}

class Stream:
    def on_get(self, request, response):
        response.stream = (b"x" * 1000 for _ in range(100))

class File:
    def on_get(self, request, response):
        response.stream = open(__file__, "rb")

app = falcon.App()
app.add_route("/upload", Upload())
app.add_route("/stream", Stream())
app.add_route("/file", File())
"""


@pytest.mark.parametrize(("name", "code"), [("django", DJANGO), ("falcon", FALCON)])
def test_django_and_falcon_stream_send_files_and_take_uploads(name, code, start_server, tmp_path):
    pytest.importorskip(name)
    (tmp_path / "faulty_framework.py").write_text(code)
    server = start_server("faulty_framework:app", cwd=tmp_path)
    content = os.urandom(3 << 20)
    with requests.Session() as session:
        sent = {"files": {"file": content}} if name == "django" else {"data": content}
        answer = session.post(server.url + "/upload", timeout=20, **sent)
        assert answer.json() == {"sha256": hashlib.sha256(content).hexdigest()}
        # The same in chunks, as `curl -T -` sends it: both go by CONTENT_LENGTH.
        whole = requests.Request("POST", server.url + "/upload", **sent).prepare()
        kind = {"Content-Type": whole.headers.get("Content-Type", "application/octet-stream")}
        pieces = (whole.body[at : at + 10_000] for at in range(0, len(whole.body), 10_000))
        answer = session.post(server.url + "/upload", timeout=20, data=pieces, headers=kind)
        assert answer.request.headers["Transfer-Encoding"] == "chunked"
        assert answer.json() == {"sha256": hashlib.sha256(content).hexdigest()}
        assert session.get(server.url + "/stream", timeout=20).content == b"x" * 100_000
        assert session.get(server.url + "/file", timeout=20).text == code
        assert session.get(server.url + "/missing", timeout=20).status_code == 404
    assert "Traceback" not in server.output
