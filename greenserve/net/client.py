"""A transport to a server, plain or with TLS, for our own clients of protocols."""

from __future__ import annotations

import socket
import ssl

from greenserve.green.socket import create_connection
from greenserve.hub.core.hub import current_hub
from greenserve.net.tls import shake_hands
from greenserve.net.transport import Transport, raw_socket


def open_transport(
    host: str,
    port: int,
    *,
    secure: bool,
    context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    deadline: float | None = None,
) -> Transport:
    """Connect; only the running green thread waits, until `deadline` (the look-up of the name not counted).

    context: for TLS; by default one that trusts the system's authorities. server_hostname: the name that the
    certificate must have, if it is not `host`. Raises OSError (TimeoutError, ssl.SSLError).
    """
    hub = current_hub()
    sock = create_connection((host, port), None if deadline is None else max(1e-6, deadline - hub.clock()))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = Transport(hub, raw_socket(sock))
    if secure:
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        try:
            shake_hands(transport, context, server_hostname=server_hostname or host, deadline=deadline)
        except BaseException:
            transport.close()
            raise
    return transport
