"""A client and its connection in one process, for what the server asks itself."""

from __future__ import annotations

import _socket
from collections.abc import Callable

from greenserve.green.socket import socketpair


def ask_itself(welcome: Callable[[_socket.socket], object], request: bytes, enough: int) -> bytes:
    """Send `request`, and return at least `enough` bytes of the answer, or all. Waits as green sockets do.

    welcome: called with the server's end, as a listener would hand it over.
    """
    client, server = socketpair()
    with client:
        welcome(_socket.socket(server.family, server.type, server.proto, server.detach()))
        client.sendall(request)
        answer = b""
        while len(answer) < enough and (data := client.recv(4096)):
            answer += data
    return answer
