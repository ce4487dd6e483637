"""A connection that is made again whenever it ends; without one."""

from __future__ import annotations

import pytest
from greenlet import GreenletExit

import greenserve
from greenserve.rooms.bus import Reconnecting
from greenserve.testing import VirtualClock


class Stumbling(Reconnecting):
    """Serves until it is disconnected, and then raises an error that is nobody's failure."""

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
    bus.start()
    thread = bus._thread
    assert thread is not None
    greenserve.sleep(0)
    bus.stop()
    thread.wait()
    assert (bus.served, capfd.readouterr().err) == (1, "")


def test_an_error_that_is_no_failure_of_the_connection_is_a_defect_and_is_told(
    clock: VirtualClock, capfd: pytest.CaptureFixture[str]
) -> None:
    bus = Stumbling()
    bus.start()
    thread = bus._thread
    assert thread is not None
    greenserve.sleep(0)
    thread.kill()
    with pytest.raises(ValueError, match="closed file"):
        thread.wait()
    assert "ValueError: I/O operation on closed file" in capfd.readouterr().err
