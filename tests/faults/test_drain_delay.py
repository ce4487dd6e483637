"""SIGTERM with a drain delay: while a load balancer still sends requests, each one is answered."""

from __future__ import annotations

import itertools
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.server_process import ServerProcess
from tests.faults.conftest import Faulty
from tests.faults.raw import Raw
from tests.wire import get

DELAYED = "SIGTERM: stopping in "


def connect_until_refused(server: ServerProcess, begun: threading.Event) -> tuple[int, int]:
    """Open connections, one after another. Returns how many were kept open by their answers, and how many not."""
    last: list[bool] = []
    for number in itertools.count():
        if number == 10:
            begun.set()
        try:
            connection = Raw(server.host, server.port)
        except ConnectionRefusedError:
            return last.count(False), last.count(True)
        with connection:
            connection.send(get())
            status, fields = connection.head()
            assert (status, connection.file.read(int(fields["content-length"]))) == (200, b"hello")
            last.append(fields.get("connection") == "close")
    raise AssertionError("endless")


def test_each_request_of_a_new_connection_during_the_delay_is_answered_then_connections_are_refused(
    faulty: Faulty,
) -> None:
    server = faulty.start("--drain-delay", "1s")
    held = faulty.raw(server, get("/sleep?3"))  # draining lasts, so that new clients are refused and not reset
    begun = [threading.Event() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(connect_until_refused, server, each) for each in begun]
        assert all(each.wait(20) for each in begun)
        server.send_signal(signal.SIGTERM)
        server.wait_for_line(f"{DELAYED}1 seconds")
        counts = [client.result(20) for client in clients]
    server.wait_for_line("the drain delay is over: stopping; 1 request in progress has 30 seconds")
    assert all(kept >= 10 and closed > 0 for kept, closed in counts), counts
    assert held.answer() == (200, b"hello")
    assert server.wait() == 0


def test_the_second_signal_ends_the_delay_and_the_third_one_kills(faulty: Faulty) -> None:
    server = faulty.start("--drain-delay", "10m")
    slow = faulty.raw(server, get("/sleep?600"))
    faulty.raw(server, get()).answer()  # so the first one has arrived, too
    server.send_signal(signal.SIGTERM)
    server.wait_for_line(DELAYED)
    server.send_signal(signal.SIGTERM)
    server.wait_for_line("SIGTERM again: stopping; 1 request in progress has 30 seconds")
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 1
    assert slow.answer()[0] == 503
    server.wait_for_line("SIGTERM again: stopping at once")


def test_two_signals_without_requests_in_progress_are_a_graceful_end(faulty: Faulty) -> None:
    server = faulty.start("--drain-delay", "10m")
    server.send_signal(signal.SIGTERM)
    server.wait_for_line(DELAYED)
    assert server.stop() == 0


def test_ctrl_c_has_no_delay(faulty: Faulty) -> None:
    server = faulty.start("--drain-delay", "10m")
    assert server.stop(signal.SIGINT) == 0
    assert DELAYED not in server.output
