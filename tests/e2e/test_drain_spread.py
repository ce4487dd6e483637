"""The WebSockets of workers that are replaced, by the installed command: told one by one, and all served again."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import greenserve
from greenserve.websocket import ConnectionClosed, connect
from tests.e2e.server_process import ServerProcess

APPLICATION = """
import os
from greenserve import websocket


@websocket.handler
def app(ws):
    ws.send(str(os.getpid()))
    for message in ws:
        ws.send(message)
"""
COUNT = 50
SPREAD = 2.0  # seconds


class Client:
    """Comes again whenever it is told that the server restarts."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.told: list[tuple[str, int, float]] = []  # by which worker, its code, and when
        self._open()

    def _open(self) -> None:
        self.socket = connect(self.url)
        self.pid = str(self.socket.receive(timeout=20))

    def live(self, old: set[str]) -> None:
        """Until a worker serves it that is none of the old ones."""
        while self.pid in old:
            try:
                self.socket.receive(timeout=60)
            except ConnectionClosed as closed:
                self.told.append((self.pid, closed.code, time.monotonic()))
            self._open()
        self.socket.send("here")
        assert self.socket.receive(timeout=20) == "here"


def test_websockets_come_again_one_after_another(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    arguments = ("application:app", "--workers", "2", "--drain-spread", f"{SPREAD}")
    with ServerProcess(*arguments, cwd=tmp_path) as server:
        clients = [Client(server.url.replace("http", "ws")) for _ in range(COUNT)]
        old = {client.pid for client in clients}
        assert len(old) == 2
        server.send_signal(signal.SIGHUP)
        for life in [greenserve.spawn(client.live, old) for client in clients]:
            life.wait()
        server.wait_for_line("reloaded")
        assert {code for client in clients for _, code, _ in client.told} == {1012}
        for pid in old:
            times = [told for client in clients for worker, _, told in client.told if worker == pid]
            assert max(times) - min(times) > SPREAD / 2
        for client in clients:
            client.socket.close()
        assert server.stop() == 0
    assert "ERROR" not in server.output
    assert "killed" not in server.output
