"""TLS between a socket and its Transport, by memory BIOs: OpenSSL sees bytes, never the descriptor.

So whatever TLS wants is a question of bytes that have come or have still to leave, which a Transport knows how to wait
for; reading never waits for room, nor writing for data.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from ssl import SSLContext
from typing import Any

from greenserve.hub.core.poller import READ, WRITE
from greenserve.net.send_buffer import MSG_DONTWAIT
from greenserve.net.transport import Transport

__all__ = ["SSLContext", "TlsSocket", "shake_hands"]

READ_SIZE = 65536  # bytes of ciphertext that are received at once
WRITE_SIZE = 65536  # bytes that are encrypted at once: four records


class TlsSocket:
    """What a Transport wants of its socket, in the clear; BlockingIOError means what it means of a plain one.

    As with OpenSSL itself, a `send` that was refused is to be repeated with the same bytes first.
    """

    def __init__(
        self, transport: Transport, context: SSLContext, *, server_side: bool, server_hostname: str | None
    ) -> None:
        self._socket = transport.socket
        self._descriptor = transport.descriptor
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self._unsent = memoryview(b"")  # ciphertext
        self._written = 0  # bytes of the `send` that was refused: their ciphertext waits

    def handshake_step(self) -> int:
        """Go on with the handshake. Returns what it waits for, READ or WRITE; 0 when it is complete.

        Raises ssl.SSLError, OSError.
        """
        try:
            while True:
                self._push()
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    self._push()
                    if self._pull() < 0:
                        return READ
                else:
                    self._push()
                    return 0
        except BlockingIOError:
            return WRITE
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                self._push()  # the alert
            raise

    # -- from the peer

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Decrypted bytes, fewer than `size` only when no more have come; b"" at the end. Raises OSError."""
        if flags & socket.MSG_PEEK:
            return b"x" if self._tls.pending() else bytes(self._socket.recv(1, flags))
        pieces: list[bytes] = []
        left, drained = size, False
        while left:
            try:
                piece = self._tls.read(left)
                if not piece:
                    raise ssl.SSLZeroReturnError
            except ssl.SSLWantReadError:
                taken = -1 if drained else self._pull()
                if taken < 0:
                    if not pieces:
                        raise BlockingIOError from None
                    break
                drained = 0 < taken < READ_SIZE
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                self._descriptor.hangup = True  # perhaps at the TLS level alone, of which no poller knows
                break
            else:
                pieces.append(piece)
                left -= len(piece)
        return b"".join(pieces)

    def _pull(self) -> int:
        """Give OpenSSL what has come; how many bytes, 0 for the end, -1 for nothing."""
        try:
            data = self._socket.recv(READ_SIZE, MSG_DONTWAIT)
        except BlockingIOError:
            return -1
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return len(data)

    # -- to the peer

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Encrypt and send some of `data`. Returns how many bytes. Raises OSError."""
        if not self._written:
            self._push()
            self._written = self._tls.write(memoryview(data)[:WRITE_SIZE])
        self._push()
        written, self._written = self._written, 0
        return written

    def sendmsg(self, buffers: tuple[bytes | memoryview, ...], ancdata: object = (), flags: int = 0) -> int:
        """`send` the first of them."""
        return self.send(buffers[0], flags)

    def _push(self) -> None:
        """Send what OpenSSL has made. Raises BlockingIOError while the peer does not take all of it."""
        while True:
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read())
                if not self._unsent:
                    return
            self._unsent = self._unsent[self._socket.send(self._unsent, MSG_DONTWAIT) :]

    # -- the rest

    def shutdown(self, how: int) -> None:
        """Say that nothing follows (RFC 8446 §6.1), and shut the socket below. The peer's answer is not waited for."""
        with contextlib.suppress(OSError):
            with contextlib.suppress(ssl.SSLError):  # it wants to read that answer; or has never shaken hands
                self._tls.unwrap()
            self._push()
        self._socket.shutdown(how)

    def __getattr__(self, name: str) -> Any:
        """fileno, setsockopt, close and the like are the plain socket's."""
        return getattr(self._socket, name)


def shake_hands(
    transport: Transport,
    context: SSLContext,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    deadline: float | None = None,
) -> None:
    """Speak TLS on `transport` from now on; parks the running green thread until the handshake is complete.

    server_hostname: the name that the server's certificate must have. Raises ssl.SSLError, OSError (TimeoutError).
    """
    tls = TlsSocket(transport, context, server_side=server_side, server_hostname=server_hostname)
    while wanted := tls.handshake_step():
        if wanted == READ:
            transport.wait_readable(deadline)
        else:
            transport.wait_writable(deadline)
    transport.socket = tls
