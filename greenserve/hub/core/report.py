"""What the hub reports on standard error: a callback's error, a green thread's."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from greenserve.hub.core import log_writer


def print_error(what: str, error: BaseException) -> None:
    """One traceback on standard error, in one write, so that those of several OS threads do not mix."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception as unprintable:  # e.g. the recursion limit, or an error's own method
        text = f"{type(error).__name__} (its traceback cannot be shown: {type(unprintable).__name__})\n"
    write(f"greenserve: {what}\n{text}")


def write(text: str) -> None:
    """On standard error; if that is gone or fails, nowhere: a report that cannot be written must do no harm.

    It waits for no reader. What a program has put in the place of `sys.stderr` may lack `flush`, or raise anything.
    """
    stream: Any = sys.stderr
    real: Any = sys.__stderr__
    try:
        if stream is None:
            return
        if stream is real:
            log_writer.standard_error.put_at_once(text.encode(real.encoding, "backslashreplace"))
        else:
            stream.write(text)
            stream.flush()
    except BaseException:  # noqa: S110 - there is nowhere to report it
        pass
