"""The Autobahn suite against the protocol alone, in both roles, if WSTEST names it (see autobahn/install.sh)."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from greenserve.websocket.deflate import DeflateParameters

from .autobahn.plain_socket import EchoServer, echo_client
from .autobahn.suite import SLOW, fuzz_client, fuzz_server

WSTEST = os.environ.get("WSTEST", "")
FULL = os.environ.get("AUTOBAHN_FULL") == "1"  # the slow groups too: ten minutes
EXCLUDED = () if FULL else SLOW
KEPT = DeflateParameters(
    server_no_context_takeover=False, client_no_context_takeover=False, server_max_window_bits=15, threshold=0
)

pytestmark = [
    pytest.mark.skipif(not WSTEST, reason="WSTEST does not name the Autobahn suite's wstest"),
    pytest.mark.timeout(1800 if FULL else 300),
]


def test_every_case_passes_against_a_server(tmp_path):
    with closing(EchoServer()) as server:
        report = fuzz_server(WSTEST, server.url, tmp_path, exclude=EXCLUDED)
    assert len(report.cases) >= 240
    assert report.bad == {}


@pytest.mark.skipif(not FULL, reason="AUTOBAHN_FULL=1 runs the slow groups")
def test_compression_passes_with_contexts_that_stay(tmp_path):
    with closing(EchoServer(KEPT)) as server:
        report = fuzz_server(WSTEST, server.url, tmp_path, cases=("12.*", "13.*"))
    assert len(report.cases) >= 200
    assert report.bad == {}


def test_every_case_passes_against_a_client(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    report = fuzz_client(WSTEST, port, echo_client, tmp_path, exclude=EXCLUDED)
    assert len(report.cases) >= 240
    assert report.bad == {}
