"""Idle connections, with a handful of them against a server of the standard library."""

import pytest

from benchmarks import idle
from benchmarks.idle import NotIdle, hold_idle
from tests.benchmarks.test_check import answering


class Growing:
    """Stands for the server's process: each look finds it 100 KiB larger."""

    def __init__(self, port):
        self.port = port
        self.memory = 0

    def memory_kib(self):
        self.memory += 100
        return self.memory


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(idle, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(idle, "WARMING_CONNECTIONS", 2)


def test_memory_is_divided_by_the_connections_and_the_slowest_request_counts():
    with answering() as port:
        held = hold_idle(Growing(port), 5)
    assert held.kib == 20
    assert 0 < held.fresh_ms <= held.worst_ms


def test_connections_that_the_server_closes_are_no_idle_ones():
    with answering(protocol="HTTP/1.0") as port, pytest.raises(NotIdle, match="closed"):
        hold_idle(Growing(port), 5)


def test_a_limit_of_open_files_that_cannot_be_raised_is_the_reason(monkeypatch):
    monkeypatch.setattr(idle.resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(NotIdle, match="needs 5200 open files and the system allows 64"):
        idle.raise_descriptor_limit(5200)
