"""The comparison of servers that speak TLS: its certificate, its client, its judgements, without load."""

from __future__ import annotations

import ssl

import pytest

from benchmarks import tls
from benchmarks.results import OURS
from benchmarks.tls import Cell
from tests.conftest import require_program
from tests.server.live import hello, serving


def cell(*values):
    return Cell([{"value": value, "rate": 1e6 / value, "p99_ms": 1.0, "errors": 0} for value in values])


def test_its_client_has_an_answer_over_tls(tmp_path):
    require_program("openssl")
    certificate, key = tls.certificate(tmp_path)
    with serving(hello, tls_cert=certificate, tls_key=key) as server:
        context = ssl.create_default_context(cafile=certificate)
        with tls.asked(server.address.port, context) as connection:
            assert connection.version() == "TLSv1.3"


def test_each_server_has_a_command():
    assert set(tls.COMMANDS) == {peer.name for peer in tls.PEERS}
    launch = tls.Launch("/venv/bin/python", "plain:hello", 8000, None)
    for command in tls.COMMANDS.values():
        words = command(launch, "CERT", "KEY")
        assert {"CERT", "KEY"} <= set(words)


def test_goals_are_judged_on_medians():
    cells = {
        ("hello", OURS): cell(20.0, 30.0, 25.0),
        ("hello", "granian"): cell(20.0),
        ("hello", "gevent"): cell(100.0),
        ("mebibyte", OURS): cell(700.0),
        ("mebibyte", "uvicorn"): cell(650.0),
    }
    lines = tls.goals(cells)
    assert "met      hello: 1.25 × the processor time of granian (goal: 1.5)" in lines
    assert "met      hello: 0.25 × the processor time of gevent (goal: 1)" in lines
    assert "not met  mebibyte: 1.08 × the processor time of uvicorn (goal: 1)" in lines
    assert "not measured  handshakes: gevent" in lines


def test_the_page_has_medians_and_why_one_is_missing(tmp_path):
    options = tls.parsed(["--peers", "greenserve,gevent", "--only", "hello", "--output", str(tmp_path)])
    cells = {("hello", OURS): cell(20.0), ("hello", "gevent"): Cell(missing="does not start")}
    tls.write(options, {"date": "today", "rounds": 1, "openssl": "OpenSSL 3"}, cells)
    page = (tmp_path / "partial.tls.md").read_text()
    assert "20.0 µs" in page
    assert "does not start" in page


def test_unknown_names_are_refused():
    with pytest.raises(SystemExit):
        tls.parsed(["--peers", "nobody"])
