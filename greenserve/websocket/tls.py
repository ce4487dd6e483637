"""A link over TLS: the same, where reading may have to wait for room and sending for data.

Invariants. OpenSSL keeps decrypted bytes that no poller sees, so a read has found everything only when it says that it
wants more. Whatever one direction waits for, both are tried when it comes.
"""

from __future__ import annotations

import contextlib
import ssl

from greenserve.hub.hub import Call
from greenserve.hub.poller import READ
from greenserve.websocket.link import Link


class TlsLink(Link):
    """One WebSocket over TLS. Its socket is an SSLSocket that has shaken hands and whose timeout is 0."""

    _would_block = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
    _short_read_is_all = False

    __slots__ = ()

    def switch(self) -> None:
        """There may be something to read, and TLS may have waited for it to send."""
        if self._outbox:
            self._flush()
        super().switch()

    def _go_on_sending(self) -> None:
        self._flush()
        super().switch()

    def _await_data(self, busy: BaseException) -> None:
        super()._await_data(busy)
        if isinstance(busy, ssl.SSLWantWriteError):
            super()._await_room(busy)

    def _await_room(self, busy: BaseException) -> None:
        super()._await_room(busy)
        if isinstance(busy, ssl.SSLWantReadError) and self._descriptor.reader is None:  # nothing is read at present
            self._descriptor.reader = Call(self._go_on_sending, ())
            self.hub.poller.arm(self._descriptor.fd, READ)

    def _shut_writing(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._socket.unwrap()  # says good-bye (RFC 8446 §6.1); the peer's is not waited for
        super()._shut_writing()
