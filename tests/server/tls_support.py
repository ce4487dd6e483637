"""A server that speaks TLS, and clients that speak it with the server of this process."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from greenserve.server import Server
from tests.server.live import Client, serving

LOCALHOST = str(Path(__file__).parent.parent / "certificates" / "localhost.pem")


def secured(application: Any, **options: Any) -> Server:
    """A server on a free port; a context manager."""
    return serving(application, tls_cert=LOCALHOST, **options)


def client_context() -> ssl.SSLContext:
    """One that trusts the server."""
    return ssl.create_default_context(cafile=LOCALHOST)


class TlsClient(Client):
    """One connection, its hands shaken."""

    socket: ssl.SSLSocket

    def __init__(self, server: Server, context: ssl.SSLContext | None = None) -> None:
        super().__init__(server)
        self.file.close()
        try:
            self.socket = (context or client_context()).wrap_socket(
                self.socket, server_hostname="localhost", suppress_ragged_eofs=False
            )
        except BaseException:
            self.socket.close()
            raise
        self.file = self.socket.makefile("rb")
