"""Green `ssl`: TLS sockets whose handshakes, reads and writes park the green thread that makes them.

Strategy: `SSLSocket` inherits the original, which knows TLS, and the green socket, which knows waiting. The C object
below is non-blocking, so each operation either succeeds or says for what it wants to wait; we wait, and repeat it. A
TLS read may want to write and the reverse, so a reader and a writer at the same time may come to wait for the same
direction: then one waits for the descriptor and the other for the first. Bytes that TLS has buffered already are
found because the operation comes before the wait.
"""

from __future__ import annotations

import ssl as _original
from collections.abc import Callable as _Callable
from typing import Any

from greenserve.errors import AlreadyWaiting as _AlreadyWaiting
from greenserve.green import socket as _socket
from greenserve.green.socket import create_connection, socket  # noqa: F401 - for what is built again over these globals
from greenserve.hub.core.hub import TIMED_OUT as _TIMED_OUT
from greenserve.hub.core.hub import running as _running
from greenserve.hub.core.wait_queue import WaitQueue as _WaitQueue
from greenserve.patching.rebind import complete, rebind

_OriginalSocket: Any = _original.SSLSocket
_READ, _WRITE = "read", "write"


class SSLSocket(_original.SSLSocket, _socket.socket):  # type: ignore[misc]  # recvmsg and sendmsg are refused
    """A TLS connection, or a listener whose connections will be; made by `SSLContext.wrap_socket`.

    One green thread may read while another writes. Timeouts raise TimeoutError, and are each call's, `sendall`
    included.
    """

    _sslobj: Any
    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool

    # Class-level defaults: the original `_create` makes instances, and knows nothing of ours.
    _busy: dict[str, Any] | None = None  # the thread that waits in: read, write, handshake, shutdown
    _sharers: dict[str, _WaitQueue] | None = None  # for each direction that a thread waits for: the other waiters

    # Over a copy of the original module's names: `super(SSLSocket, self)` in it means the original class, whatever is
    # patched later.
    _create = classmethod(rebind(_OriginalSocket._create.__func__, dict(vars(_original))))

    def settimeout(self, value: float | None) -> None:
        """As the green socket's. `_create` comes here after it has detached the socket below, which made it blocking
        again.
        """
        _socket.socket.settimeout(self, value)
        _socket._set_nonblocking(self, False)

    def _repeat(self, name: str, deadline: float | None, operation: _Callable[..., Any], *args: Any) -> Any:
        """`operation(*args)`, again and again until it wants to wait for nothing. name: for errors."""
        while True:
            try:
                return operation(*args)
            except _original.SSLWantReadError:
                if self._must_not_wait():
                    raise
                wait, direction = self._wait_read, _READ
            except _original.SSLWantWriteError:
                if self._must_not_wait():
                    raise
                wait, direction = self._wait_write, _WRITE
            if self._busy is None:
                self._busy = {}
            me: Any = _running()
            if name in self._busy and self._busy[name].token:  # one whose token is empty waits no more
                raise _AlreadyWaiting(
                    f"another green thread already waits in a {name} on this TLS socket: let one green thread do it"
                )
            self._busy[name] = me
            try:
                self._share(wait, direction, deadline)
            except TimeoutError:
                raise TimeoutError(f"The {name} operation timed out") from None
            finally:
                if self._busy.get(name) is me:
                    del self._busy[name]

    def _share(self, wait: _Callable[[float | None], None], direction: str, deadline: float | None) -> None:
        """`wait(deadline)`; or, when another green thread waits for this direction already, for it to be resumed."""
        if self._sharers is None:
            self._sharers = {}
        sharers = self._sharers.get(direction)
        if sharers is None:
            self._sharers[direction] = _WaitQueue()
            try:
                wait(deadline)
            finally:  # also when killed: one of them waits for the descriptor next
                self._sharers.pop(direction).wake_all()
        elif sharers.wait(deadline=deadline) is _TIMED_OUT:
            raise TimeoutError("timed out")

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands. block: wait even if the timeout is 0."""
        timeout = self._timeout
        if block and timeout == 0.0:
            self._timeout = None
        try:
            self._repeat("handshake", self._deadline(), _OriginalSocket.do_handshake, self)
        finally:
            self._timeout = timeout

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """At most `len` decrypted bytes, or their count when there is a `buffer` to put them into."""
        return self._repeat("read", self._deadline(), _OriginalSocket.read, self, len, buffer)

    def write(self, data: Any) -> int:
        """Encrypt and send. Returns how many bytes that were, of `data`."""
        sent: int = self._repeat("write", self._deadline(), _OriginalSocket.write, self, data)
        return sent

    def send(self, data: Any, flags: int = 0) -> int:
        """Encrypt and send what fits; in the clear before `wrap_socket` has connected and after `unwrap`."""
        if self._sslobj is None:
            return _socket.socket.send(self, data, flags)
        sent: int = self._repeat("write", self._deadline(), _OriginalSocket.send, self, data, flags)
        return sent

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Encrypt and send everything. The timeout is the whole call's."""
        if self._sslobj is None:
            _socket.socket.sendall(self, data, flags)
            return
        deadline = self._deadline()
        with memoryview(data) as view, view.cast("B") as rest:
            size, sent = len(rest), 0
            while sent < size:
                sent += self._repeat("write", deadline, _OriginalSocket.send, self, rest[sent:], flags)

    def unwrap(self) -> Any:
        """Say good-bye, and wait for the peer's. Returns the socket, which is in the clear from now on."""
        return self._repeat("shutdown", self._deadline(), _OriginalSocket.unwrap, self)

    def verify_client_post_handshake(self) -> None:
        """Ask the client for a certificate (TLS 1.3)."""
        self._repeat("write", self._deadline(), _OriginalSocket.verify_client_post_handshake, self)

    def accept(self) -> tuple[SSLSocket, Any]:
        """(connection, peer's address), after its handshake unless the socket was wrapped without."""
        connection, address = _socket.socket.accept(self)
        made = self._create(
            connection,
            server_side=True,
            do_handshake_on_connect=self.do_handshake_on_connect,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
            context=self.context,
        )
        return made, address


class SSLContext(_original.SSLContext):
    """A context whose sockets are green."""

    sslsocket_class = SSLSocket


SSLSocket.__module__ = SSLContext.__module__ = __name__

__getattr__ = complete(
    globals(),
    _original,
    rebound=(
        "create_default_context",
        "_create_unverified_context",
        "_create_stdlib_context",
        "_create_default_https_context",
        "get_server_certificate",
        "wrap_socket",
    ),
)
