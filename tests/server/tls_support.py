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


def context_of_two_threads(cafile: str | Path = LOCALHOST) -> ssl.SSLContext:
    """The same for a client that reads in one OS thread and writes in another, as that of `websockets.sync` does.

    OpenSSL's sessions are not made for that, and `ssl` guards them in its latest versions only. TLS 1.3's tickets come
    when such a client already reads, and what it writes at that moment may be lost; those of TLS 1.2 come before.
    """
    context = ssl.create_default_context(cafile=cafile)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


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
