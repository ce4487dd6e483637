"""`signal`, whose handlers run in main, wherever the signal comes; the hub's handler of SIGINT looks like the
interpreter's own.

asyncio has signals written to a descriptor of its own while a loop has handlers for them, and takes it back afterwards;
and it cancels its main task on Ctrl-C, but only where nobody has a handler of his own. The hub has one in the place of
the default (hub/interrupt.py), and shall have it again when asyncio restores the default.
"""

from __future__ import annotations

import contextlib
import signal as _real
from typing import Any

from greenserve.green._twin import complete
from greenserve.hub import interrupt as _interrupt


def getsignal(signalnum: int, /) -> Any:
    """As `signal.getsignal`."""
    return _as_set(_interrupt.get_handler(signalnum))


def signal(signalnum: int, handler: Any, /) -> Any:
    """As `signal.signal`. The handler is called in main: also while another green thread runs, or all are waiting."""
    if handler is _real.default_int_handler and signalnum == _real.SIGINT and _interrupt.claimed():
        handler = _interrupt.on_sigint
    elif callable(handler):
        handler = _interrupt.MainHandler(handler)
    return _as_set(_interrupt.set_handler(signalnum, handler))


def move_handlers_to_main(_: object = None) -> None:
    """Have the handlers that were set before the patch called in main too."""
    for signalnum in _real.valid_signals():
        handler = _interrupt.get_handler(signalnum)
        if callable(handler) and not _interrupt.is_anywhere_right(handler):
            with contextlib.suppress(ValueError):  # not in the main OS thread
                _interrupt.set_handler(signalnum, _interrupt.MainHandler(handler))


def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
    """As `signal.set_wakeup_fd`; one that is taken back is the hub's again."""
    previous = _real.set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
    if fd == -1:
        _interrupt.watch_again()
    return previous


def _as_set(handler: Any) -> Any:
    """What the program has set, of which `handler` was made."""
    if isinstance(handler, _interrupt.MainHandler):
        return handler.handler
    return _real.default_int_handler if handler is _interrupt.on_sigint else handler


__getattr__ = complete(globals(), _real)
