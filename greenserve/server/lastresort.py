"""Where the server's log lines go in a program that configures no logging.

To standard error, warnings and worse, as `logging.lastResort` has it; but no thread waits for the reader there.
"""

from __future__ import annotations

import logging

from greenserve.hub.core import report

_ROOT = "greenserve"


class LastResort(logging.Handler):
    """Says nothing where the program has put a handler on the line's way."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        if logging.lastResort is not None and not self._has_company(logging.getLogger(record.name)):
            report.write(self.format(record) + "\n")

    def _has_company(self, logger: logging.Logger | None) -> bool:
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False


def install() -> None:
    """Put the handler on the logger `greenserve`. Twice is harmless."""
    logger = logging.getLogger(_ROOT)
    if not any(isinstance(handler, LastResort) for handler in logger.handlers):
        logger.addHandler(LastResort(logging.WARNING))
