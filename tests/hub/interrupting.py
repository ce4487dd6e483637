"""Code that comes in the middle: what a finaliser or a signal handler would do, between any two instructions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
HUB = str(Path(sys.modules["greenserve"].__file__).parent / "hub")


def interrupted(operation: Callable[[], T], interruption: Callable[[], object], instruction: int) -> tuple[T, bool]:
    """Call `operation`, and `interruption` before the hub's `instruction`-th instruction, if it comes to that.

    Returns what the operation returned, and whether it came to that.
    """
    left = [instruction]

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        if event in ("opcode", "line"):  # the outermost call has no opcode events in Python 3.13
            if left[0] == 0:
                sys.settrace(None)
                frame.f_trace = None
                left[0] = -1
                interruption()
                return None
            left[0] -= 1
        return local

    def each(frame: FrameType, event: str, arg: Any) -> Any:
        if left[0] < 0 or not frame.f_code.co_filename.startswith(HUB):
            return None
        frame.f_trace_opcodes = True
        return local

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks at this when settrace is called, and not afterwards
    sys.settrace(each)
    try:
        result = operation()
    finally:
        sys.settrace(before)
    return result, left[0] < 0


def everywhere(scenario: Callable[[int], bool]) -> int:
    """Run `scenario(n)` for n = 0, 1, ... until it says that there was no n-th instruction. Returns n."""
    instruction = 0
    while scenario(instruction):
        instruction += 1
    return instruction
