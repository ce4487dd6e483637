"""`--reload`, by the installed command: code that is saved is served, and what cannot be loaded is explained."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from greenserve.websocket import ConnectionClosed, connect
from tests.e2e.server_process import ServerProcess
from tests.waiting import until_blocking

PAGE = """
import os, time
from flask import Flask, render_template
import helper

app = Flask(__name__)


@app.get("/")
def index():
    words = ["one", helper.WORD, os.environ.get("WORD", "-"), render_template("page.html")]
    return " ".join(words)


@app.get("/poll")
def poll():
    time.sleep(600)
    return "never"
"""
PLAIN = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Multiprocess", str(environ["wsgi.multiprocess"]))])
    return [b"one"]
"""


@pytest.fixture(params=["watchfiles", "polling"])
def way(request: pytest.FixtureRequest) -> dict[str, str | None]:
    """How files are watched, as variables of the environment."""
    return {"WATCHFILES_FORCE_POLLING": "true" if request.param == "polling" else None}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "views.py").write_text(PAGE)
    (tmp_path / "helper.py").write_text("WORD = 'two'\n")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.html").write_text("four")
    (tmp_path / "site.env").write_text("WORD=three\n")
    return tmp_path


def ask(server: ServerProcess, **headers: str) -> requests.Response:
    return requests.get(server.url, headers=headers, timeout=20)


def until_served(server: ServerProcess, *words: str, status: int = 200) -> requests.Response:
    """Ask again and again until all the words are there."""
    found = []

    def is_there() -> bool:
        found[:] = [ask(server)]
        return found[0].status_code == status and all(word in found[0].text for word in words)

    until_blocking(is_there, step=0.02)
    return found[0]


def save(file: Path, text: str) -> None:
    """By another file that takes its place, as many editors do."""
    other = file.with_suffix(".tmp")
    other.write_text(text)
    other.rename(file)


def test_what_is_saved_is_served(place: Path, way: dict[str, str | None]) -> None:
    with ServerProcess("views:app", "--reload", "--env-file", "site.env", cwd=place, env=way) as server:
        until_served(server, "one two three four")
        with socket.create_connection((server.host, server.port)) as poll, server.connect() as idle:
            poll.sendall(b"GET /poll HTTP/1.1\r\nHost: a\r\n\r\n")
            idle.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert idle.recv(1000).startswith(b"HTTP/1.1 200")
            save(place / "helper.py", "WORD = 'TWO'\n")
            server.wait_for_line(r"reloading: helper\.py changed")
            assert "one TWO three four" in ask(server).text, "the first request after the change was noticed"
            assert idle.recv(1000) == b"", "what is idle would be answered by old code"
            (place / "templates" / "page.html").write_text("FOUR")
            until_served(server, "one TWO three FOUR")
            (place / "new.py").write_text("WORD = 'neu'\n")
            save(place / "helper.py", "from new import WORD\n")
            until_served(server, "one neu three FOUR")
            (place / "site.env").write_text("WORD=THREE\n")
            until_served(server, "one neu THREE FOUR")
            assert poll.recv(1000).startswith(b"HTTP/1.1 503"), "it is not waited for"
        assert server.stop() == 0
    assert "ERROR" not in server.output
    assert server.output.count("files are watched") == 1


def test_what_cannot_be_loaded_is_explained_and_the_next_save_is_served(place: Path) -> None:
    (place / "helper.py").write_text("WORD = <b>\n")
    with ServerProcess("views:app", "--reload", cwd=place) as server:  # it listens all the same
        broken = ask(server)
        assert broken.status_code == 500
        assert 'helper.py", line 1\n    WORD = <b>\n' in broken.text
        page = ask(server, Accept="text/html").text
        assert "WORD = &lt;b&gt;" in page
        assert "<b>" not in page
        with server.connect() as waiting:  # as the page's script does
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Greenserve-Wait: 1\r\n\r\n")
            save(place / "helper.py", "WORD = 'two'\n")
            assert waiting.recv(1000).startswith(b"HTTP/1.1 204")
        until_served(server, "one two")
        for text, why in [
            ("import nothing_of_that_name\n", "imports 'nothing_of_that_name'"),
            ("def f():\n    raise RuntimeError('not today')\nf()\n", "RuntimeError: not today"),
            ("import os\nos._exit(7)\n", "ended with exit status 7"),
            ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n", "was killed by SIGTERM"),
        ]:
            save(place / "helper.py", text)
            until_served(server, why, status=500)
            server.wait_for_line(re.escape(why))
        save(place / "helper.py", "WORD = 'three'\n")
        until_served(server, "one three")
        (place / "greenserve.toml").write_text("no_such_option = 1\n")
        until_served(server, "'no_such_option' in", status=500)
        (place / "greenserve.toml").write_text('server_header = "abc"\n')
        assert until_served(server, "one three").headers["Server"] == "abc"
        assert server.stop() == 0
    for frame in re.findall(r'File "([^"]+)"', server.output):
        assert Path(frame).is_relative_to(place), "the frames are the application's:\n" + server.output


@pytest.fixture
def plain(tmp_path: Path) -> Callable[[str], None]:
    """Saves a small application with another answer; the first time `one`."""
    (tmp_path / "plain.py").write_text(PLAIN)
    return lambda word: save(tmp_path / "plain.py", PLAIN.replace("one", word))


def test_no_connection_is_refused_and_none_is_lost(tmp_path: Path, plain: Callable[[str], None]) -> None:
    stop = threading.Event()
    found: list[object] = []

    def ask_on(server: ServerProcess) -> None:
        while not stop.is_set():
            try:
                found.append(ask(server).status_code)
            except requests.RequestException as error:
                found.append(error)

    with ServerProcess("plain:app", "--reload", cwd=tmp_path) as server:
        clients = [threading.Thread(target=ask_on, args=(server,)) for _ in range(2)]
        for client in clients:
            client.start()
        for word in ("two", "three", "four", "five"):
            plain(word)
            until_served(server, word)
        stop.set()
        for client in clients:
            client.join(20)
        assert set(found) == {200}
        assert server.stop() == 0


def test_what_is_included_and_excluded_and_the_variable_and_two_workers(
    tmp_path: Path, plain: Callable[[str], None]
) -> None:
    for name in ("site.yaml", "ignored.py"):
        (tmp_path / name).write_text("")
    options = {"GREENSERVE_RELOAD": "true", "GREENSERVE_RELOAD_INCLUDE": "*.yaml", "GREENSERVE_RELOAD_EXCLUDE": "ign*"}
    with ServerProcess("plain:app", "--workers", "2", cwd=tmp_path, env=options) as server:
        assert ask(server).headers["X-Multiprocess"] == "True"
        server.wait_for_line("files are watched")
        (tmp_path / "ignored.py").write_text("new")
        plain("two")
        until_served(server, "two")
        (tmp_path / "site.yaml").write_text("new")
        server.wait_for_line(r"reloading: site\.yaml changed")
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("reloaded: all workers run generation 2")
        until_served(server, "two")
        assert server.stop() == 0
    assert "ignored.py" not in server.output


SOCKETS = """
import os, sys
from greenserve import websocket

sys.path.append("{elsewhere}")
import library


def app(environ, start_response):
    @websocket.handler
    def talk(ws):
        ws.send(" ".join([library.WORD, os.environ["WERKZEUG_RUN_MAIN"], str(environ["wsgi.multiprocess"])]))
        for message in ws:
            pass

    return talk(environ, start_response)
"""


def test_websockets_are_told_and_modules_from_elsewhere_are_watched_also_by_another_watcher(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "library.py").write_text("WORD = 'one'\n")
    (tmp_path / "sockets.py").write_text(SOCKETS.format(elsewhere=elsewhere))
    with ServerProcess("sockets:app", "--reload", "--log-level", "debug", cwd=tmp_path) as server:
        url = server.url.replace("http", "ws")
        for word in ("two", "three"):
            client = connect(url)
            assert str(client.receive(timeout=20)).split()[1:] == ["true", "False"]
            server.wait_for_line("files are watched", count=1 if word == "two" else 2)
            save(elsewhere / "library.py", f"WORD = '{word}'\n")
            with pytest.raises(ConnectionClosed) as closed:
                client.receive(timeout=20)
            assert closed.value.code == 1012
            client = connect(url)
            assert str(client.receive(timeout=20)).split()[0] == word
            client.close()
            os.kill(watcher_of(server.pid), signal.SIGKILL)
            server.wait_for_line("the process that watches files has ended", count=1 if word == "two" else 2)
        assert server.stop() == 0


def watcher_of(pid: int) -> int:
    """The child that watches."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"reload/__main__.py" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("there is none")
