"""Both ends of a WebSocket in one hub: a connection on a socket pair, and its peer on a green socket, in frames."""

from __future__ import annotations

import socket
from typing import Any

from greenserve.green.socket import socket as GreenSocket
from greenserve.hub.core.hub import current_hub
from greenserve.net.transport import Transport
from greenserve.websocket.api import WebSocket
from greenserve.websocket.connection import Connection
from greenserve.websocket.memory import Memory
from greenserve.websocket.protocol import Limits, Protocol, Role
from greenserve.websocket.protocol.deflate import DeflateParameters
from tests.wire import BINARY, CLOSE, NO_MASK, TEXT, frame, xor

PATIENCE = 10.0  # seconds; a peer's read that takes longer has failed


class Peer:
    """The other side: sends what it is told, and reads frames. `client`: whether it masks."""

    def __init__(self, sock: GreenSocket, *, client: bool = True) -> None:
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self._buffer = b""
        self._key = NO_MASK if client else None

    def frame(self, opcode: int, payload: bytes = b"", **options: Any) -> bytes:
        return frame(opcode, payload, key=self._key, **options)

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def send_text(self, text: str) -> None:
        self.send(self.frame(TEXT, text.encode()))

    def send_binary(self, data: bytes) -> None:
        self.send(self.frame(BINARY, data))

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        self.send(self.frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason.encode()))

    def read(self) -> tuple[int, bytes]:
        """The next frame: (opcode, payload). Raises EOFError at the end, AssertionError for a fragment."""
        first, second = self._take(2)
        assert first & 0x80, "a fragment"
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(self._take(2 if size == 126 else 8))
        key = self._take(4) if second & 0x80 else b""
        payload = self._take(size)
        return first & 0x7F, xor(payload, key) if key else payload

    def read_close(self) -> tuple[int, str]:
        """The next frame, which is a Close: (code, reason)."""
        opcode, payload = self.read()
        assert opcode == CLOSE, (opcode, payload[:80])
        return (int.from_bytes(payload[:2]), payload[2:].decode()) if payload else (1005, "")

    def at_end(self) -> bool:
        """Whether the other side has shut down, with nothing before that."""
        try:
            self._take(1)
        except EOFError:
            return True
        return False

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def close(self) -> None:
        self.socket.close()


class Pair:
    """A connection (`connection`, and `ws` above it) and its `peer`; a context manager that closes both."""

    def __init__(
        self,
        *,
        ping_interval: float = 0.0,
        ping_timeout: float = 20.0,
        write_timeout: float = 60.0,
        client: bool = False,
        max_message: int | None = 1 << 20,
        deflate: DeflateParameters | None = None,
        start: bool = True,
        early: bytes = b"",
        memory: Memory | None = None,
    ) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        protocol = Protocol(
            Role.CLIENT if client else Role.SERVER, limits=Limits(max_message=max_message), deflate=deflate
        )
        self.socket = ours
        self.connection: Connection = Connection(
            current_hub(),
            Transport(current_hub(), ours),
            protocol,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            write_timeout=write_timeout,
            client=client,
            memory=memory,
        )
        self.ws = WebSocket(self.connection, path="/", origin=None, subprotocol=None)
        self.peer = Peer(GreenSocket(fileno=theirs.detach()), client=not client)
        if start:
            self.connection.start(early=early)

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.abort()
        self.peer.close()
