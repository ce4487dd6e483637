"""`signal`, whose handlers run in main, wherever the signal comes; the hub's handler of SIGINT looks like the
interpreter's own.

An event loop has signals written to a descriptor of its own while it has handlers for them, and takes it back
afterwards; and it cancels its main task on Ctrl-C, but only in the main thread, and where the program has no handler.
The hub has one in the place of the default (hub/core/signals.py), and gets it again when the loop restores that.
"""

from __future__ import annotations

import contextlib
import signal as _original
from typing import Any

from greenserve.hub.core import signals as _signals
from greenserve.hub.core.hub import hub_here as _hub_here
from greenserve.patching.polling import poll_until_answered as _poll_until_answered
from greenserve.patching.rebind import complete

_original_pause = _original.pause
_sigtimedwait: Any = getattr(_original, "sigtimedwait", None)
_sigwaitinfo: Any = getattr(_original, "sigwaitinfo", None)


def getsignal(signalnum: int, /) -> Any:
    """As `signal.getsignal`."""
    return _as_set(_signals.get_handler(signalnum))


def signal(signalnum: int, handler: Any, /) -> Any:
    """As `signal.signal`. The handler is called in main: also while another green thread runs, or all are waiting."""
    if handler is _original.default_int_handler and signalnum == _original.SIGINT and _signals.claimed():
        handler = _signals.on_sigint
    elif callable(handler):
        handler = _signals.MainHandler(handler)
    return _as_set(_signals.set_handler(signalnum, handler))


def move_handlers_to_main(_: object = None) -> None:
    """Have the handlers that were set before the patch called in main too."""
    for signalnum in _original.valid_signals():
        handler = _signals.get_handler(signalnum)
        if callable(handler) and not _signals.is_anywhere_right(handler):
            with contextlib.suppress(ValueError):  # not in the main OS thread
                _signals.set_handler(signalnum, _signals.MainHandler(handler))


def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
    """As `signal.set_wakeup_fd`; the hub's is not told of, and one that is taken back is the hub's again."""
    previous = _original.set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
    ours = _signals.is_wakeup_fd(previous)
    if fd == -1:
        _signals.watch_again()
    return -1 if ours else previous


def in_main_alone(function: Any) -> Any:
    """`function` that raises ValueError in a green thread, as those of `signal` do in any thread but the main one."""

    def checked(*args: Any, **kwargs: Any) -> Any:
        if _signals.is_in_green_thread():
            raise ValueError("signal only works in main thread of the main interpreter")
        return function(*args, **kwargs)

    return checked


def pause() -> None:
    """As `signal.pause`: wait until a handler has been called. Only the calling green thread waits."""
    before = _signals.MainHandler.calls
    hub = _hub_here()
    if hub is None:
        _original_pause()
    else:
        _poll_until_answered(hub, lambda: True if _signals.MainHandler.calls != before else None)


if hasattr(_original, "sigtimedwait"):
    # A mask of blocked signals is the OS thread's, so its green threads share one.

    def sigtimedwait(sigset: Any, timeout: float, /) -> Any:
        """As `signal.sigtimedwait`; only the calling green thread waits."""
        if timeout < 0:
            raise ValueError("timeout must be non-negative")
        hub = _hub_here()
        if hub is None:
            return _sigtimedwait(sigset, timeout)
        return _poll_until_answered(hub, lambda: _sigtimedwait(sigset, 0), timeout)

    def sigwaitinfo(sigset: Any, /) -> Any:
        """As `signal.sigwaitinfo`; only the calling green thread waits."""
        hub = _hub_here()
        if hub is None:
            return _sigwaitinfo(sigset)
        return _poll_until_answered(hub, lambda: _sigtimedwait(sigset, 0))

    def sigwait(sigset: Any, /) -> Any:
        """As `signal.sigwait`; only the calling green thread waits."""
        number = sigwaitinfo(sigset).si_signo
        try:
            return _original.Signals(number)
        except ValueError:  # one of the real-time signals, which have no names
            return number


def _as_set(handler: Any) -> Any:
    """What the program has set, of which `handler` was made."""
    if isinstance(handler, _signals.MainHandler):
        return handler.handler
    return _original.default_int_handler if handler is _signals.on_sigint else handler


__getattr__ = complete(globals(), _original)
