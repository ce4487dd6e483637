"""A Transport's socket as a green one, for an application that takes the connection, and the way back."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

from greenserve.green import socket
from greenserve.hub.core.hub import Hub
from greenserve.net.tls import TlsSocket
from greenserve.net.transport import Owner, Transport, raw_socket

_ALWAYS_LOOK = SimpleNamespace(hangup=True)  # in the place of the transport's descriptor: never trust a short read


def to_green(transport: Transport) -> socket.socket:
    """The transport's socket, with its TLS if it has one, as a green socket; the transport has none from then on."""
    sock = transport.detach()
    if isinstance(sock, TlsSocket):
        return SecureSocket(sock)
    return socket.socket(sock.family, sock.type, sock.proto, sock.detach())


def cut(sock: socket.socket) -> None:
    """Shut both sides so that it does not look like an end in order, where TLS can tell. Raises OSError."""
    if isinstance(sock, SecureSocket):
        sock.cut()
    else:
        sock.shutdown(socket.SHUT_RDWR)


def to_transport(hub: Hub, sock: socket.socket, owner: Owner) -> Transport:
    """The reverse of `to_green`."""
    if not isinstance(sock, SecureSocket):
        return Transport(hub, raw_socket(sock), owner)
    tls = sock.give_back()
    transport = Transport(hub, tls, owner)
    tls.descriptor = transport.descriptor
    return transport


class SecureSocket(socket.socket):
    """A green socket that speaks TLS by a TlsSocket. The descriptor is both's, and ends with this one."""

    __slots__ = ("_tls",)

    def __init__(self, tls: TlsSocket) -> None:
        plain = tls.plain
        super().__init__(plain.family, plain.type, plain.proto, plain.fileno())
        self._tls = tls
        tls.descriptor = _ALWAYS_LOOK

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """At most `bufsize` bytes; b"" at the end. Raises TimeoutError, OSError."""
        return self._call(self._wait_read, flags, SecureSocket._receive, bufsize, flags) if bufsize else b""

    def _receive(self, bufsize: int, flags: int) -> bytes:
        return self._tls.recv(bufsize, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Fill `buffer`, at most `nbytes` of it. Returns the count; 0 at the end."""
        with memoryview(buffer) as view, view.cast("B") as rest:
            data = self.recv(nbytes or len(rest), flags)
            rest[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Encrypt and send what fits. Returns how many bytes that was."""
        with memoryview(data) as view, view.cast("B") as rest:
            return self._call(self._wait_write, flags, SecureSocket._send, rest)

    def _send(self, data: memoryview) -> int:
        return self._tls.send(data)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Encrypt and send everything. The timeout is the whole call's."""
        deadline = self._deadline()
        with memoryview(data) as view, view.cast("B") as rest:
            sent = 0
            while sent < len(rest):
                try:
                    sent += self._tls.send(rest[sent:])
                except BlockingIOError:
                    if self._must_not_wait(flags):
                        raise
                    self._wait_write(deadline)

    sendfile = socket.socket._sendfile_use_send  # type: ignore[attr-defined]  # sendfile(2) would send in the clear

    def shutdown(self, how: int, /) -> None:
        """Shut one side or both; the peer is told so by TLS too."""
        self._call(self._wait_write, 0, SecureSocket._shut, how)

    def _shut(self, how: int) -> None:
        self._tls.shutdown(how)

    def _refuse(self, *_: Any) -> Any:
        raise NotImplementedError("a TLS socket sends and receives one stream of bytes; there is nothing else to it")

    recvfrom = recvfrom_into = recvmsg = recvmsg_into = sendto = sendmsg = dup = _refuse  # type: ignore[assignment]

    # -- the end

    def _real_close(self, _ss: Any = None) -> None:
        with contextlib.suppress(OSError):
            self._tls.shutdown(socket.SHUT_WR)
        self._tls.plain.detach()
        super()._real_close()

    def detach(self) -> int:
        """Give the descriptor away; what is sent on it is in the clear."""
        self._tls.plain.detach()
        return super().detach()

    def give_back(self) -> TlsSocket:
        """Give up the TlsSocket, and the descriptor with it."""
        super().detach()
        self._tls.plain.setblocking(False)
        return self._tls

    def cut(self) -> None:
        """Shut both sides at once, without TLS's word that this is the end."""
        self._tls.plain.shutdown(socket.SHUT_RDWR)
