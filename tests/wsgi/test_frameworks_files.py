"""Files of frameworks go to the kernel, whole and in part: what is sent is what the framework would have given."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import ModuleType

import pytest

from greenserve.wsgi import FileWrapper
from tests.wsgi.fakes import Wire, call, get

CONTENT = bytes(range(256)) * 4000  # 1 MB
RANGES = ["0-99999", "100000-999999", "500-", "-700000", "1023990-"]


class ReadingWire(Wire):
    """Reads the file as the kernel would."""

    def finish_file(self, fd: int, offset: int, count: int) -> None:
        super().finish_file(fd, offset, count)
        self.sends.append(os.pread(fd, count, offset))


def ask(application, target="/", range_=None, method="GET"):
    """Status, body, and how many bytes of it the kernel was given."""
    headers = f"Range: bytes={range_}\r\n" if range_ else ""
    wire, gateway = call(application, get(target, method=method, headers=headers), ReadingWire())
    head, _, body = b"".join(wire.sends).partition(b"\r\n\r\n")
    assert gateway.sent == len(body)
    return int(head.split()[1]), body, sum(count for _, _, count in wire.files)


def part_of(content, range_):
    first, last = range_.split("-")
    return content[-int(last) :] if not first else content[int(first) : int(last) + 1 if last else None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "static" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def flask_app(path):
    flask = pytest.importorskip("flask")
    app = flask.Flask(__name__)

    @app.get("/file.bin")
    def file():
        return flask.send_file(path, conditional=True)

    @app.get("/memory")
    def memory():
        return flask.send_file(io.BytesIO(CONTENT), mimetype="a/b", conditional=True)

    @app.get("/begun")
    def begun():
        opened = open(path, "rb")  # noqa: SIM115 - the server closes it
        opened.seek(1000)
        return flask.send_file(opened, mimetype="a/b")

    return app


def falcon_app(path):
    falcon = pytest.importorskip("falcon")
    app = falcon.App()
    app.add_static_route("/", str(path.parent))
    return app


def whitenoise_app(path):
    whitenoise = pytest.importorskip("whitenoise")
    return whitenoise.WhiteNoise(None, root=str(path.parent))


@pytest.mark.parametrize("make", [flask_app, falcon_app, whitenoise_app])
def test_files_and_ranges_go_to_the_kernel(make, path):
    app = make(path)
    assert ask(app, "/file.bin") == (200, CONTENT, len(CONTENT))
    for range_ in RANGES[:4]:
        expected = part_of(CONTENT, range_)
        assert ask(app, "/file.bin", range_) == (206, expected, len(expected))
    assert ask(app, "/file.bin", RANGES[4]) == (206, CONTENT[1023990:], 0)  # so small that it leaves with the head
    if make is not falcon_app:  # which opens the file, and leaves it to the garbage collector
        assert ask(app, "/file.bin", method="HEAD") == (200, b"", 0)


def test_what_is_no_file_is_read(path):
    app = flask_app(path)
    assert ask(app, "/memory") == (200, CONTENT, 0)
    for range_ in RANGES:
        assert ask(app, "/memory", range_) == (206, part_of(CONTENT, range_), 0)


def test_a_file_that_stands_elsewhere_is_sent_from_there(path):
    assert ask(flask_app(path), "/begun") == (200, CONTENT[1000:], len(CONTENT) - 1000)


def test_a_range_of_werkzeug_is_sent_as_it_would_be_read(path):
    """Compared with its own iteration, beyond the file's end and behind a read too."""
    wsgi = pytest.importorskip("werkzeug.wsgi")

    def wrapped(start, count, begin=0, read=False):
        opened = open(path, "rb")  # noqa: SIM115 - the server closes it
        opened.seek(begin)
        wrapper = wsgi._RangeWrapper(wsgi.wrap_file({"wsgi.file_wrapper": FileWrapper}, opened), start, count)
        if read:
            next(wrapper)
        return wrapper

    for case in (
        (0, None),
        (10, 500_000),
        (10, 5),
        (1_000_000, 100_000),
        (2_000_000, 100_000),
        (100_000, None, 7),
        (10, 500_000, 0, True),
    ):
        pieces = wrapped(*case)
        expected = b"".join(pieces)
        pieces.close()

        def application(environ, start_response, case=case, expected=expected):
            start_response("206 Partial Content", [("Content-Length", str(len(expected)))])
            return wrapped(*case)

        _, body, by_kernel = ask(application)
        assert body == expected, case
        assert by_kernel == (0 if len(expected) <= 65536 or case[-1] is True else len(expected)), case


def test_a_bounded_file_with_a_read_of_its_own_is_read(path):
    static = pytest.importorskip("falcon.routing.static")

    def application(environ, start_response):
        bounded = static._BoundedFile(open(path, "rb"), 200_000)  # noqa: SIM115 - the server closes it
        inner = bounded.read
        bounded.read = lambda size=-1: inner(size)[::-1]
        start_response("200 OK", [("Content-Length", "200000")])
        return environ["wsgi.file_wrapper"](bounded, 200_000)

    assert ask(application) == (200, CONTENT[:200_000][::-1], 0)


def test_django_sends_files_and_what_was_sought_by_the_kernel(path):
    """Django has no ranges; what adds them seeks in the file and says the length."""
    django = pytest.importorskip("django.conf")
    from django.core.wsgi import get_wsgi_application
    from django.http import FileResponse
    from django.test import override_settings
    from django.urls import path as route

    closed = []

    def whole(request):
        return FileResponse(open(path, "rb"))

    def part(request):
        opened = open(path, "rb")  # noqa: SIM115 - the response closes it
        opened.seek(5000)
        response = FileResponse(opened, status=206)
        response["Content-Length"] = "300000"
        response._resource_closers.append(lambda: closed.append("part"))
        return response

    if not django.settings.configured:
        django.settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x", MIDDLEWARE=[])

    routes = ModuleType("routes")
    routes.urlpatterns = [route("whole", whole), route("part", part)]
    with override_settings(ROOT_URLCONF=routes):
        app = get_wsgi_application()
        assert ask(app, "/whole") == (200, CONTENT, len(CONTENT))
        assert ask(app, "/part") == (206, CONTENT[5000:305_000], 300_000)
    assert closed == ["part"]
