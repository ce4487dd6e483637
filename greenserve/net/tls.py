"""TLS between a socket and its Transport, by memory BIOs: OpenSSL sees bytes, never the descriptor.

So whatever TLS wants is a question of bytes that have come or have still to leave, which a Transport knows how to wait
for; reading never waits for room, nor writing for data.

Strategy. OpenSSL is asked only when it has something to do: each call that it answers by an exception costs as much as
a record. A BIO's memory grows to the most that it ever held, and stays: so it is given pieces no larger than a record
or two, and a connection that has moved much weighs at rest what another does.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence
from ssl import SSLContext, SSLError, SSLObject
from typing import Any

from greenserve.hub.core.originals import allocate_lock
from greenserve.hub.core.poller import READ, WRITE
from greenserve.net.send_buffer import MSG_DONTWAIT, SEND_SIZE
from greenserve.net.transport import Transport

__all__ = ["SSLContext", "SSLError", "SSLObject", "TlsSocket", "shake_hands"]

RECORD = 16384  # bytes in the clear, the most in one (RFC 8446 §5.1)
PIECE = 2 * RECORD  # what a BIO holds at the most: with one record a large answer costs 7 % more, with four 2 % less
READ_SIZE = 32768  # bytes of ciphertext that are received at once
# Bytes that are encrypted before the kernel is asked to take them: what a peer that takes nothing costs besides its
# answer. With half or twice as many a large answer costs some 10 % more: calls, or the processor's caches.
STEP = 32 * RECORD
_ENDS = (ssl.SSLZeroReturnError, ssl.SSLEOFError)


class TlsSocket:
    """What a Transport wants of its socket, in the clear; BlockingIOError means what it means of a plain one.

    plain: the socket below. descriptor: its transport's. ssl_object: for questions about the connection.
    """

    __slots__ = (
        "_ahead",
        "_incoming",
        "_lock",
        "_more",
        "_outgoing",
        "_owed",
        "_tls",
        "_unsent",
        "descriptor",
        "plain",
        "ssl_object",
    )

    def __init__(
        self, transport: Transport, context: SSLContext, *, server_side: bool, server_hostname: str | None
    ) -> None:
        self.plain = transport.socket
        self.descriptor: Any = transport.descriptor
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self._tls: Any = self.ssl_object._sslobj  # type: ignore[attr-defined]  # each method of its wrapper is a call more
        # Two OS threads must not be in one connection's OpenSSL at once, and its calls release the GIL.
        self._lock = allocate_lock()
        self._more = True  # OpenSSL may have something that was not read
        self._ahead = b""  # was read by a look ahead
        self._unsent: list[bytes | memoryview] = []  # ciphertext
        self._owed = 0  # 1: the last byte of the last `send` was encrypted, and not counted

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
        with self._lock:
            if flags & socket.MSG_PEEK:
                self._ahead = self._ahead or self._read(size)
                return self._ahead[:size]
            if self._ahead:
                return self._read_on(size)
            return self._read(size)

    def recv_into(self, buffer: memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """`recv` into `buffer`, as much as it holds."""
        data = self.recv(len(buffer), flags)
        buffer[: len(data)] = data
        return len(data)

    def _read_on(self, size: int) -> bytes:
        """Behind a look ahead."""
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        if len(data) < size:
            with contextlib.suppress(BlockingIOError):
                data += self._read(size - len(data))
        return data

    def _read(self, size: int) -> bytes:
        pieces: list[bytes] = []
        incoming, tls = self._incoming, self._tls
        taken, left = READ_SIZE, size
        while left:
            if not self._more:
                # A short read has emptied the socket; unless the peer's end is there, of which no event will tell.
                taken = -1 if taken < READ_SIZE and not self.descriptor.hangup else self._pull()
                if taken < 0:
                    break
            try:
                piece = tls.read(left if left < RECORD else RECORD)
            except ssl.SSLWantReadError:
                self._more = False
                continue
            except _ENDS:
                piece = b""
            if not piece:
                self.descriptor.hangup = True  # perhaps at the TLS level alone, of which no poller knows
                return b"".join(pieces)
            self._more = incoming.pending > 0 or tls.pending() > 0
            left -= len(piece)
            if not (left or pieces):
                return piece  # type: ignore[no-any-return]  # bytes
            pieces.append(piece)
        if not pieces:
            if self._outgoing.pending:  # an alert
                self._push()
            raise BlockingIOError
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _pull(self) -> int:
        """Give OpenSSL what has come; how many bytes, 0 for the end, -1 for nothing."""
        try:
            data = self.plain.recv(READ_SIZE, MSG_DONTWAIT)
        except BlockingIOError:
            return -1
        self._more = True
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return len(data)

    # -- to the peer

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Encrypt and send some of `data`. Returns how many bytes. Raises OSError.

        While the ciphertext has not left, its last byte is not counted: the caller has something to come again with,
        and knows that it must.
        """
        size = len(data)
        if not size:
            return 0
        with self._lock:
            if self._unsent or self._outgoing.pending:
                self._push()
            done, self._owed = self._owed, 0
            if size - done > RECORD:
                return self._send_large(memoryview(data), done)
            if size > done:
                self._tls.write(memoryview(data)[done:] if done else data)
            sent = self._leave(size)
            if not sent:
                raise BlockingIOError
            return sent

    def sendmsg(self, buffers: Sequence[bytes | memoryview], ancdata: object = (), flags: int = 0) -> int:
        """`send` of several: a record for the first of them, and what follows in the last of these, uncopied.

        Nothing that was counted as sent must wait.
        """
        first: list[bytes | memoryview] = []
        room = RECORD
        for buffer in buffers:
            first.append(buffer[:room])
            if len(buffer) > room:
                break
            room -= len(buffer)
        else:
            return self.send(b"".join(first))
        with self._lock:
            self._push()
            self._tls.write(b"".join(first))
            return RECORD - room + self._send_large(memoryview(buffer), room)

    def _send_large(self, data: memoryview, start: int) -> int:
        """Encrypt and send from `start` on, step by step while the peer takes them. Returns where `send` counts to."""
        write, read, unsent = self._tls.write, self._outgoing.read, self._unsent
        if self._outgoing.pending:
            unsent.append(read())
        size = min(len(data), start + SEND_SIZE)
        while start < size:
            end = start + STEP if size - start > STEP + RECORD else size  # no step, and no call, for a last few bytes
            for begin in range(start, end, PIECE):
                write(data[begin : min(begin + PIECE, end)])
                unsent.append(read())
            start = end
            counted = self._leave(end)
            if counted < end:
                return counted
        return size

    def _leave(self, size: int) -> int:
        """Send what was encrypted of `size` bytes. Returns how many of them count as sent, perhaps none."""
        try:
            self._push()
        except BlockingIOError:
            self._owed = 1
            return size - 1
        return size

    def _push(self) -> None:
        """Send what OpenSSL has made. Raises BlockingIOError while the peer does not take all of it."""
        unsent, outgoing = self._unsent, self._outgoing
        if not unsent:
            data = outgoing.read()
            if not data:
                return
            unsent.append(data)
        elif outgoing.pending:
            unsent.append(outgoing.read())
        while unsent:
            sent = self.plain.sendmsg(unsent, (), MSG_DONTWAIT)
            for index, piece in enumerate(unsent):
                if sent < len(piece):
                    unsent[index] = memoryview(piece)[sent:]
                    del unsent[:index]
                    break
                sent -= len(piece)
            else:
                unsent.clear()

    # -- the rest

    def shutdown(self, how: int) -> None:
        """Say that nothing follows (RFC 8446 §6.1), and shut the socket below. The peer's answer is not waited for.

        Raises BlockingIOError when that cannot leave yet, if only our side is to be shut; then try again.
        """
        if how != socket.SHUT_RD:
            with self._lock:
                with contextlib.suppress(ssl.SSLError):  # it wants to read that answer; or has never shaken hands
                    self._tls.shutdown()
                try:
                    self._push()
                except OSError:
                    if how == socket.SHUT_WR:
                        raise
        self.plain.shutdown(how)

    def __getattr__(self, name: str) -> Any:
        """fileno, setsockopt, close and the like are the plain socket's."""
        return getattr(self.plain, name)


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
