"""An echo server and an echo client on blocking sockets and threads: the protocol alone, without hub or session."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

from greenserve.websocket.protocol import Limits, Protocol, Role, State
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.errors import ProtocolViolation
from greenserve.websocket.protocol.handshake import (
    CLIENT_DEFLATE,
    Agreement,
    ClientHandshake,
    accept_upgrade,
    read_upgrade,
)

SIZE = 65536
PATIENCE = 30.0  # seconds without a byte from the peer
LIMITS = Limits(max_message=64 << 20)
SERVER_DEFLATE = DeflateParameters(threshold=0)


class EchoServer:
    """Listens on a free port of 127.0.0.1 from the moment it is made until `close`."""

    def __init__(self, deflate: DeflateParameters = SERVER_DEFLATE) -> None:
        self._deflate = deflate
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(PATIENCE)
            line, headers, rest = read_head(connection)
            method, _, version = line.split(" ")
            accepted = accept_upgrade(
                read_upgrade(method, version.removeprefix("HTTP/"), headers), deflate=self._deflate
            )
            connection.sendall(accepted.response)
            echo(connection, Protocol(Role.SERVER, limits=LIMITS, deflate=accepted.deflate), rest)
            # RFC 6455 §7.1.1: the server closes first; what still comes is read, so that no reset overtakes our Close.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(SIZE):
                pass

    def close(self) -> None:
        """Stop listening."""
        # Closing alone would leave the thread inside accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()


def echo_client(url: str) -> list[str | bytes]:
    """Connect, echo every message until the connection ends, and return them."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        deflate = replace(CLIENT_DEFLATE, threshold=0)
        handshake = ClientHandshake(parts.netloc, target, deflate=deflate)
        connection.sendall(handshake.request)
        while handshake.outcome is None:
            handshake.receive(connection.recv(SIZE))
        assert isinstance(handshake.outcome, Agreement)
        protocol = Protocol(Role.CLIENT, limits=LIMITS, deflate=handshake.outcome.deflate)
        messages = echo(connection, protocol, handshake.early)
        with suppress(OSError):
            while connection.recv(SIZE):
                pass
        return messages


def read_head(connection: socket.socket) -> tuple[str, list[tuple[str, str]], bytes]:
    """The first line, the headers, and the bytes that came after them."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(SIZE)
        if not piece:
            raise ConnectionResetError("the peer left during the handshake")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    pairs = (field.split(":", 1) for field in fields)
    return line, [(name.lower(), value.strip()) for name, value in pairs], rest


def echo(connection: socket.socket, protocol: Protocol, data: bytes) -> list[str | bytes]:
    """Echo every message until either side closes, and return them."""
    messages: list[str | bytes] = []
    data = data or connection.recv(SIZE)
    while True:
        protocol.receive_data(data)
        try:
            while (event := protocol.next_event()) is not None:
                if isinstance(event, str | bytes) and protocol.state is State.OPEN:
                    messages.append(event)
                    connection.sendall(protocol.data_to_send() + protocol.send(event))
        except ProtocolViolation:
            pass
        connection.sendall(protocol.data_to_send())
        if protocol.state is State.CLOSED:
            return messages
        data = connection.recv(SIZE)
