"""The supervisor's log lines: to standard error, as the workers write theirs, and never waiting for a reader."""

from __future__ import annotations

import os
import select
import time

_LEVELS = ("debug", "info", "warning", "error", "critical")


class Lines:
    """Writes those that are at least as severe as `level`. What has no reader is dropped."""

    def __init__(self, level: str, fd: int = 2) -> None:
        self._fd = fd
        self._from = _LEVELS.index(level)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def say(self, level: str, text: str) -> None:
        """One line; further ones in the text are indented."""
        if _LEVELS.index(level) < self._from:
            return
        now = time.time()
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        line = f"{date},{int(now % 1 * 1000):03d} {level.upper():7} {text}".replace("\n", "\n    ")
        data = (line + "\n").encode(errors="backslashreplace")[: select.PIPE_BUF]
        try:
            if self._poll.poll(0):
                os.write(self._fd, data)
        except OSError:  # there is no standard error any more
            pass
