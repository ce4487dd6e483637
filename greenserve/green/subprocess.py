"""Green `subprocess`: the standard library's own code over green `os`, `selectors`, `threading` and pipes.

Strategy: Popen's methods are built again over a copy of the module's globals in which what blocks is green; a wait
for the child is one wait for its pidfd, where the standard library asks again and again. The pipes that Popen opens
are read and written by `greenserve.green.os`, which leaves their flags alone: another child may get them as its
standard input.
"""

from __future__ import annotations

import io as _io
import os as _original_os
import subprocess as _original
import time as _original_time
import warnings as _warnings
from collections.abc import Callable as _Callable
from types import FunctionType as _FunctionType
from types import ModuleType
from types import SimpleNamespace as _SimpleNamespace
from typing import Any
from typing import TypeVar as _TypeVar

from greenserve.green import os as _os
from greenserve.green import selectors as _selectors
from greenserve.green import threading as _threading
from greenserve.green import time as _time
from greenserve.hub.core.busy_wait import relax as _relax
from greenserve.hub.core.hub import running as _running
from greenserve.patching.rebind import complete, rebind
from greenserve.patching.reimport import Exchanged as _Exchanged

_T = _TypeVar("_T")


class _Pipe(_io.FileIO):
    """The end of a pipe: read and written without blocking others. As of every FileIO, None is the answer of one that
    was made non-blocking and is not ready.
    """

    def readinto(self, buffer: Any, /) -> int | None:
        """Wait for bytes, and put them into `buffer`. Returns their count; 0 at the end."""
        return _unless_blocking(_os.readv, self.fileno(), [buffer])

    def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override]  # typeshed forgets the None
        """At most `size` bytes; all there will be when it is negative."""
        if size is None or size < 0:
            return self.readall()
        return _unless_blocking(_os.read, self.fileno(), size)

    def readall(self) -> bytes | None:  # type: ignore[override]  # typeshed forgets the None
        """Everything until the end, or as much as is there."""
        pieces = []
        while piece := self.read(_io.DEFAULT_BUFFER_SIZE):
            pieces.append(piece)
        return b"".join(pieces) if pieces or piece is not None else None

    def write(self, data: Any, /) -> int | None:  # type: ignore[override]  # typeshed forgets the None
        """Write all of `data`."""
        return _unless_blocking(_os.write, self.fileno(), data)


def _unless_blocking(call: _Callable[[int, Any], _T], fd: int, argument: Any) -> _T | None:
    try:
        return call(fd, argument)
    except BlockingIOError:
        return None


def _open(fd: int, mode: str, buffering: int = -1) -> Any:
    """As `io.open`, for Popen's pipes, which are binary there."""
    raw = _Pipe(fd, mode.replace("b", ""))
    if buffering == 0:
        return raw
    if buffering == 1:
        _warnings.warn(
            "line buffering (buffering=1) isn't supported in binary mode, the default buffer size will be used",
            RuntimeWarning,
            stacklevel=2,
        )
    size = _io.DEFAULT_BUFFER_SIZE if buffering < 2 else buffering
    return _io.BufferedReader(raw, size) if "r" in mode else _io.BufferedWriter(raw, size)


def _live(original: ModuleType, twin: ModuleType) -> ModuleType:
    """The original module as it is at present, but where it is as it was at our import: its twin."""
    return _Exchanged(original, {name: (value, getattr(twin, name)) for name, value in vars(original).items()})


class _Names(dict[str, Any]):
    """The globals of what is built again here: ours, and for the rest the original module's, as they are at present."""

    def __missing__(self, name: str) -> Any:
        return vars(_original)[name]


_names = _Names(
    __name__=__name__,
    io=_SimpleNamespace(**{**vars(_io), "open": _open}),
    os=_live(_original_os, _os),
    threading=_threading,
    time=_live(_original_time, _time),
    selectors=_selectors,
    _PopenSelector=_selectors.PollSelector,
)


def _methods() -> dict[str, Any]:
    # What is decorated has another module's globals, and none of it blocks.
    return {
        name: rebind(value, _names)
        for name, value in vars(_original.Popen).items()
        if isinstance(value, _FunctionType) and value.__globals__ is vars(_original)
    }


class Popen(type("_Popen", (_original.Popen,), _methods())):  # type: ignore[misc]  # a class made of what this interpreter has
    """As `subprocess.Popen`; only the calling green thread waits."""

    def poll(self) -> int | None:
        """The child's status; None while it runs."""
        status: int | None = super().poll()
        if status is None and _relax():
            status = super().poll()
        return status

    def _wait(self, timeout: float | None) -> int:
        """Wait for the child to end, at most `timeout` seconds. Raises TimeoutExpired."""
        deadline = None if timeout is None else _running().hub.clock() + timeout
        while self.returncode is None:
            try:
                _os.wait_for_child(self.pid, deadline)
            except TimeoutError:
                raise _original.TimeoutExpired(self.args, timeout or 0.0) from None
            except ChildProcessError:
                pass  # other code has reaped it: what `_try_wait` makes of that is the standard library's
            with self._waitpid_lock:
                if self.returncode is not None:
                    break
                pid, status = self._try_wait(_os.WNOHANG)
                if pid == self.pid:
                    self._handle_exitstatus(status)
        code: int = self.returncode
        return code


Popen.__module__ = "subprocess"
_names["Popen"] = Popen

for _name in ("call", "check_call", "check_output", "run", "getoutput", "getstatusoutput"):
    globals()[_name] = _names[_name] = rebind(getattr(_original, _name), _names)

__getattr__ = complete(globals(), _original)
