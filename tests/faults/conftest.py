"""A server of the real command, with an application that does what its path says and tells what the process holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import StartServer, start_server  # noqa: F401 - a fixture
from tests.e2e.server_process import ServerProcess
from tests.faults.raw import Raw

APPLICATION = '''
import gc, hashlib, json, os, time
from greenserve import rooms, websocket

FILE = os.environ.get("FAULTS_FILE")


def facts():
    """What the process holds: a number that grows with the requests is a leak."""
    from greenserve.server.connection import Connection
    from greenserve.server.worker import Worker
    from greenserve.hub.core.deadlock import green_threads
    gc.collect()
    objects = gc.get_objects()
    (worker,) = [each for each in objects if type(each) is Worker]
    return {
        "connections": len(worker.connections),
        "alive": sum(type(each) is Connection for each in objects),
        "busy": worker.pool.busy,
        "detached": worker.pool.detached,
        "waiting": len(worker.pool.waiting),
        "unsent": worker.outstanding.unsent,
        "threads": len(list(green_threads(worker.hub))),
        "members": len(rooms.get("room")),
        "timers": len(worker.hub.timers),
        "descriptors": len(worker.hub.io.descriptors),
        "fds": len(os.listdir("/proc/self/fd")),
        "objects": len(objects),
    }


def talk(ws, how):
    """A WebSocket's life, by its path."""
    if how == "echo":
        for message in ws:
            ws.send(message)
    elif how == "sink":
        for message in ws:
            pass
    elif how == "busy":
        time.sleep(1)
    elif how == "feed":
        while True:
            ws.send(b"x" * 65536)
    elif how == "room":
        with rooms.get("room").joined(ws, "member"):
            for message in ws:
                rooms.get("room").broadcast(message)


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path.startswith("/ws/"):
        with websocket.accept(environ) as ws:
            talk(ws, path[4:])
        return []
    body = b"hello"
    if path == "/facts":
        body = json.dumps(facts()).encode()
    elif path == "/echo":
        digest, size = hashlib.sha256(), 0
        while piece := environ["wsgi.input"].read(65536):
            digest.update(piece)
            size += len(piece)
        body = f"{size} {digest.hexdigest()}".encode()
    elif path == "/sleep":
        time.sleep(float(query))
    elif path == "/spin":
        end = time.monotonic() + float(query)
        while time.monotonic() < end:
            pass
    elif path == "/stream":
        start_response("200 OK", [("Content-Length", query)])
        block = b"x" * 65536
        return (block[: min(65536, int(query) - at)] for at in range(0, int(query), 65536))
    elif path == "/whole":
        body = b"x" * int(query)
    elif path == "/file":
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](open(FILE, "rb"))
    elif path == "/raise":
        raise RuntimeError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
'''


class Faulty:
    """`start(*arguments, **options)`: the server; `raw(server)`: a connection to it, closed at the end."""

    def __init__(self, start: StartServer, directory: Path) -> None:
        self._start = start
        self.directory = directory
        self._open: list[Raw] = []
        (directory / "faulty.py").write_text(APPLICATION)

    def start(self, *arguments: str, **options: object) -> ServerProcess:
        return self._start("faulty:app", *arguments, cwd=self.directory, **options)

    def raw(self, server: ServerProcess, sent: bytes = b"", *, timeout: float = 20.0, receive_buffer: int = 0) -> Raw:
        connection = Raw(server.host, server.port, timeout, receive_buffer)
        self._open.append(connection)
        if sent:
            connection.send(sent)
        return connection

    def close(self) -> None:
        for connection in self._open:
            connection.close()


@pytest.fixture
def faulty(start_server: StartServer, tmp_path: Path) -> Iterator[Faulty]:  # noqa: F811 - the fixture
    fixture = Faulty(start_server, tmp_path)
    try:
        yield fixture
    finally:
        fixture.close()
