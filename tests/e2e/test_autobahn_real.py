"""The Autobahn suite against the real server and our own client; as in test_autobahn.py, WSTEST names wstest."""

from __future__ import annotations

import contextlib
import socket

import pytest

from greenserve.hub.core.hub import Hub, use_hub
from greenserve.websocket import ConnectionClosed, connect, handler
from tests.server.live import serving

from .autobahn.suite import fuzz_client, fuzz_server
from .test_autobahn import GROUPS, WSTEST, wstest

__all__ = ["wstest"]  # the fixture that asks for it

pytestmark = pytest.mark.timeout(1800)

MAX_MESSAGE = 64 << 20


@handler(max_message=MAX_MESSAGE)
def echo(ws):
    for message in ws:
        ws.send(message)


def echo_client(url: str) -> list[str | bytes]:
    """Echo until the server closes; the messages."""
    messages = []
    # A case may end by a violation of the server's, and the ends themselves are what the suite judges.
    with contextlib.suppress(ConnectionClosed), connect(url, max_message=MAX_MESSAGE) as ws:
        for message in ws:
            messages.append(message)
            ws.send(message)
    ws.close()
    return messages


@pytest.mark.parametrize(("cases", "count"), GROUPS)
def test_every_case_passes_against_the_server(cases, count, tmp_path):
    with serving(echo) as server:
        report = fuzz_server(WSTEST, server.url.replace("http", "ws"), tmp_path, cases=cases)
    assert report.bad == {}
    assert len(report.cases) == count


@pytest.mark.parametrize(("cases", "count"), GROUPS)
def test_every_case_passes_against_the_client(cases, count, tmp_path):
    use_hub(Hub())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    report = fuzz_client(WSTEST, port, echo_client, tmp_path, cases=cases)
    use_hub(Hub())
    assert report.bad == {}
    assert len(report.cases) == count
