"""greenserve.debug: the dump names everybody, and shows where each waits."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator

import pytest

import greenserve
from greenserve import debug


@pytest.fixture
def event() -> Iterator[greenserve.Event[None]]:
    """What a parked thread waits for; it is sent in the end."""
    event: greenserve.Event[None] = greenserve.Event()
    yield event
    event.send()
    greenserve.sleep(0)


def wait_here(event: greenserve.Event[None]) -> None:
    event.wait()


def test_a_parked_thread_is_shown_with_its_name_and_its_stack(event: greenserve.Event[None]) -> None:
    thread = greenserve.spawn(wait_here, event)
    thread.name = "the patient one"
    greenserve.sleep(0)
    text = debug.format_dump()
    _, _, its = text.partition("the patient one")
    assert "in wait_here\n" in its
    assert "event.wait()" in its


def test_the_running_thread_is_shown_as_running() -> None:
    def look() -> str:
        return debug.format_dump()

    thread = greenserve.spawn(look)
    thread.name = "the one that looks"
    text = thread.wait()
    line = next(line for line in text.splitlines() if line.startswith("  <GreenThread the one that looks"))
    assert line.endswith(", running")
    assert "in look\n" in text.partition(line)[2]


def test_a_thread_that_has_not_begun_is_shown_as_such() -> None:
    thread = greenserve.spawn(greenserve.sleep)
    thread.name = "the new one"
    line = next(line for line in debug.format_dump().splitlines() if line.startswith("  <GreenThread the new one"))
    assert line.endswith(", not begun")
    thread.kill()


def test_green_threads_of_other_os_threads_are_shown(event: greenserve.Event[None]) -> None:
    parked = threading.Event()

    def program() -> None:
        thread = greenserve.spawn(wait_here, event)
        thread.name = "the one elsewhere"
        greenserve.sleep(0)
        parked.set()
        thread.wait()

    os_thread = threading.Thread(target=program)
    os_thread.start()
    try:
        parked.wait()
        text = debug.format_dump()
    finally:
        event.reset()
        event.send()
        os_thread.join()
        event.reset()
    assert f"OS thread {os_thread.ident}:" in text
    assert "the one elsewhere" in text


def test_the_dump_goes_where_it_is_told() -> None:
    greenserve.sleep(0)
    file = io.StringIO()
    debug.dump(file)
    assert "main" in file.getvalue()


def test_a_signal_dumps_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    greenserve.sleep(0)
    before = signal.getsignal(signal.SIGUSR1)
    debug.dump_on_signal()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "test_a_signal_dumps_on_standard_error" in capsys.readouterr().err
