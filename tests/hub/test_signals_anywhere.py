"""SIGINT before each single instruction of the hub, one after another: main gets it, and nobody is lost.

The interpreter runs a signal handler between two instructions. A trace function too; what it raises is raised there.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from greenserve.hub import Timeout, sleep, spawn, use_hub
from greenserve.hub.core import signals
from greenserve.hub.core.hub import Hub, running, wake
from greenserve.hub.core.ready import MARK
from tests.hub.support import VirtualTime

LINES = sys.version_info[:2] == (3, 12)  # which does not report instructions to who asks for them in a trace function
STEP = 1 if LINES else 9  # instructions; all of them take half a minute


class Injector:
    """Calls `handler` before the instruction number `at` that is executed in the hub's files."""

    def __init__(self, at: int, handler: Callable[[int, FrameType], None]) -> None:
        self.at = at
        self.count = 0
        self.done = False
        self._handler = handler

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if not signals.__name__.startswith(frame.f_globals.get("__package__") or "?"):
            return None
        frame.f_trace_opcodes = not LINES
        frame.f_trace_lines = LINES
        if event in ("opcode", "line") and not self.done:
            self.count += 1
            if self.count == self.at:
                self.done = True
                sys.settrace(None)
                self._handler(signal.SIGINT, frame)
        return self.trace

    def __enter__(self) -> Injector:
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)


def scenario(at: int, handler: Callable[[int, FrameType], None]) -> tuple[Injector, int]:
    """Threads that sleep, spawn, wait, and are woken; main among them. Returns how often main was interrupted."""
    time = VirtualTime(forever=False)
    hub = use_hub(Hub(clock=time.clock, poller=time))
    turns = 0

    def worker() -> None:
        nonlocal turns
        for _ in range(2):
            sleep(0)
            spawn(int).wait()
            with Timeout(5):
                sleep(1)
            turns += 1

    interrupted = 0
    injector = Injector(at, handler)
    threads = [spawn(worker) for _ in range(2)]
    with injector:
        try:
            me = running()
            sleep(0)
            for token in ([me], [me]):
                spawn(wake, token)
                hub.park(me, token)
            sleep(1)
            while not all(thread.dead for thread in threads):
                sleep(1)
            sleep(0)
        except KeyboardInterrupt:
            interrupted += 1
    try:
        if injector.done and not interrupted:
            sleep(0)
    except KeyboardInterrupt:
        interrupted += 1
    for thread in threads:
        thread.wait(100)
    assert turns == 4
    assert MARK in hub.ready
    return injector, interrupted


def test_sigint_before_any_instruction_of_the_hub_loses_nobody():
    before = sys.gettrace()
    try:
        instruction = 1
        while True:
            instruction += STEP
            injector, interrupted = scenario(instruction, signals.on_sigint)
            if not injector.done:
                break
            assert interrupted == 1, f"before instruction {instruction}"
    finally:
        sys.settrace(before)
        use_hub(Hub())
    assert instruction > 100
