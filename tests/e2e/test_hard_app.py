"""The command serves an application that does what applications should not."""

from __future__ import annotations

import socket
import urllib.request
from urllib.parse import urlsplit

APPLICATION = "tests.e2e.hard_app:app"


def test_a_server_whose_application_has_left_a_socket_serves_others_and_stops_at_sigterm(start_server):
    server = start_server(APPLICATION)
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as taken:
        taken.sendall(b"GET /take HTTP/1.1\r\nHost: a\r\n\r\n")
        with taken.makefile("rb") as file:
            assert file.read().startswith(b"HTTP/1.1 101 ")  # to the end: the server has shut its side
        with urllib.request.urlopen(server.url, timeout=20) as answer:
            assert answer.read() == b"hello"
        assert server.stop() == 0
