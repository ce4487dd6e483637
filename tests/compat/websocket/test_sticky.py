"""Flask-SocketIO over several workers, as docs/deploy.md shows it: polling, upgraded, by WebSocket alone; its rooms."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import socketio

from greenserve.net.siblings import is_possible
from tests.documents import DOCS, Page, file_name
from tests.e2e.proxies.programs import NGINX_HTTP, NGINX_MAIN, nginx
from tests.e2e.server_process import ServerProcess
from tests.waiting import until_blocking

pytestmark = pytest.mark.skipif(not is_possible(), reason="--sticky needs Linux")

CLIENTS = 20
POLLING = ["polling"]
KINDS = [POLLING, ["polling", "websocket"], ["websocket"]]
PAGE = Page(DOCS / "deploy.md")
CHAT = next(block for _, block in PAGE.blocks if file_name(block) == "chat.py")

CONFIGURATION = (
    NGINX_MAIN
    + "http {{"
    + NGINX_HTTP
    + """
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream app {{ server 127.0.0.1:{upstream}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_buffering off; proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""
)


def serve(place: Path, *options: str, text: str = CHAT) -> ServerProcess:
    (place / "chat.py").write_text(text)
    return ServerProcess("chat:app", "--workers", "4", *options, "--graceful-timeout", "1", cwd=place)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with serve(tmp_path, "--sticky", "sid") as server:
        yield server
    assert "Traceback" not in server.output
    assert "WARNING" not in server.output


def talk(url: str, transports: list[str]) -> None:
    """Clients in two rooms, of several workers: what one says comes to all of its room, and to no other."""
    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as pool:

        def enter(number: int) -> socketio.SimpleClient:
            client = socketio.SimpleClient()
            client.connect(url, transports=transports, wait_timeout=20)
            client.call("join", f"room {number % 2}", timeout=20)
            assert client.transport == transports[-1]
            return client

        clients = list(pool.map(enter, range(CLIENTS)))
        for client in clients:
            stack.callback(client.disconnect)
        for speaker in (0, 1, CLIENTS - 1):
            clients[speaker].call("say", (f"room {speaker % 2}", f"hello from {speaker}"), timeout=20)
            for client in clients[speaker % 2 :: 2]:
                assert client.receive(timeout=20) == ["said", f"hello from {speaker}"]


@pytest.mark.parametrize("transports", KINDS, ids="+".join)
def test_clients_keep_their_sessions_and_rooms_reach_all_workers(server: ServerProcess, transports: list[str]) -> None:
    talk(server.url, transports)


def test_the_same_behind_nginx_which_shares_its_connections(
    server: ServerProcess, tmp_path: Path, free_port: int
) -> None:
    text = CONFIGURATION.replace("{port}", str(free_port)).replace("{upstream}", str(server.port))
    with nginx(tmp_path, free_port, text) as url:
        for transports in KINDS[:2]:
            talk(url, transports)


PID = """

@socketio.on("pid")
def pid():
    import os

    return os.getpid()
"""


def ask(client: socketio.SimpleClient, *words: object) -> object:
    """What the server answers, perhaps after the client has connected again: what it has sent meanwhile is lost."""
    answers: list[object] = []

    def asked() -> bool:
        try:
            answers.append(client.call(*words, timeout=1))
        except socketio.exceptions.TimeoutError:
            return False
        return True

    until_blocking(asked)
    return answers[0]


def test_a_client_of_a_worker_that_was_killed_or_replaced_goes_on(tmp_path: Path) -> None:
    with serve(tmp_path, "--sticky", "sid", text=CHAT + PID) as server, socketio.SimpleClient() as client:
        client.connect(server.url, transports=POLLING, wait_timeout=20)
        first = ask(client, "pid")
        os.kill(int(str(first)), signal.SIGKILL)
        server.wait_for_line(rf"pid {first}\) was killed by SIGKILL")
        second = ask(client, "pid")
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("reloaded")
        server.wait_for_line(rf"pid {second}\) (has )?ended")
        third = ask(client, "pid")
        assert len({first, second, third}) == 3
        ask(client, "join", "room")
        client.emit("say", ("room", "hello"))
        assert client.receive(timeout=20) == ["said", "hello"]


def test_a_manager_without_a_bus_says_so_and_serves_its_own_clients(tmp_path: Path) -> None:
    with serve(tmp_path, "--sticky", "sid", "--rooms", "none") as server, socketio.SimpleClient() as client:
        client.connect(server.url, transports=POLLING, wait_timeout=20)
        assert server.wait_for_line("no way to other workers")
        client.call("join", "room", timeout=20)
        client.emit("say", ("room", "hello"))
        assert client.receive(timeout=20) == ["said", "hello"]
    assert server.output.count("no way to other workers") == 1
    assert "Traceback" not in server.output


def test_what_several_workers_need_is_said(tmp_path: Path) -> None:
    text = CHAT.replace(", client_manager=RoomsManager()", "")
    with serve(tmp_path, text=text) as server:
        assert "add --sticky sid" in server.output
        assert "client_manager=greenserve.compat.socketio.RoomsManager()" in server.output
