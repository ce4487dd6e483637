"""A bus that connects again whenever its connection ends; here without one."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from greenlet import GreenletExit

import greenserve
from greenserve.rooms.bus import ReconnectingBus
from greenserve.testing import VirtualClock


class Stumbling(ReconnectingBus):
    """Serves until it is disconnected, and then raises an error that is not among its failures."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.ended = greenserve.Event()
        self.served = 0

    def connect(self) -> None:
        pass

    def serve(self) -> None:
        self.served += 1
        try:
            greenserve.Event().wait(timeout=30)
        except GreenletExit:
            raise ValueError("I/O operation on closed file") from None

    def disconnect(self) -> None:
        if not self.ended.ready():
            self.ended.send(None)


def test_what_a_library_says_of_the_connection_that_was_stopped_is_of_no_interest(
    clock: VirtualClock, capfd: pytest.CaptureFixture[str]
) -> None:
    bus = Stumbling()
    bus.open(Mock(), ("", b""))
    thread = bus._thread
    assert thread is not None
    greenserve.sleep(0)
    bus.close()
    thread.wait()
    assert (bus.served, capfd.readouterr().err) == (1, "")


def test_an_error_that_is_no_failure_of_the_connection_is_told_as_a_defect_and_the_bus_connects_again(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Defective(Stumbling):
        def serve(self) -> None:
            self.served += 1
            if self.served < 3:
                raise RecursionError("maximum recursion depth exceeded")
            greenserve.Event().wait(timeout=1000)

    bus = Defective()
    bus.open(Mock(), ("", b""))
    greenserve.sleep(10)
    assert bus.served == 3
    assert bus.connected
    told = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.exc_info[0] for record in told if record.exc_info] == [RecursionError] * 2
    bus.close()
