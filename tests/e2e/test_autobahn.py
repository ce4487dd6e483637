"""The Autobahn suite against the protocol alone, in both roles, if WSTEST names it (see autobahn/install.sh)."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from greenserve.websocket.protocol.deflate import DeflateParameters
from tests.conftest import missing

from .autobahn.plain_socket import EchoServer, echo_client
from .autobahn.suite import SLOW, fuzz_client, fuzz_server

WSTEST = os.environ.get("WSTEST", "")
FULL = os.environ.get("AUTOBAHN_FULL") == "1"
KEPT = DeflateParameters(
    server_no_context_takeover=False, client_no_context_takeover=False, server_max_window_bits=15, threshold=0
)
# The slow groups take wstest, an old Python program, half an hour in all.
slow = pytest.mark.skipif(not FULL, reason="not asked for: AUTOBAHN_FULL=1 runs the slow groups")
GROUPS = [
    pytest.param(("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"), 247, id="framing"),
    *(pytest.param((pattern,), count, id=pattern, marks=slow) for pattern, count in SLOW.items()),
]

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(autouse=True)
def wstest() -> None:
    if not WSTEST:
        missing("WSTEST does not name the Autobahn suite's wstest (see tests/e2e/autobahn/install.sh)", "autobahn")


@pytest.mark.parametrize(("cases", "count"), GROUPS)
def test_every_case_passes_against_a_server(cases, count, tmp_path):
    with closing(EchoServer()) as server:
        report = fuzz_server(WSTEST, server.url, tmp_path, cases=cases)
    assert report.bad == {}
    assert len(report.cases) == count


@slow
@pytest.mark.parametrize("pattern", ["12.*", "13.*"])
def test_compression_passes_with_contexts_that_stay(pattern, tmp_path):
    with closing(EchoServer(KEPT)) as server:
        report = fuzz_server(WSTEST, server.url, tmp_path, cases=(pattern,))
    assert report.bad == {}
    assert len(report.cases) == SLOW[pattern]


@pytest.mark.parametrize(("cases", "count"), GROUPS)
def test_every_case_passes_against_a_client(cases, count, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    report = fuzz_client(WSTEST, port, echo_client, tmp_path, cases=cases)
    assert report.bad == {}
    assert len(report.cases) == count
