"""Where the server's own log lines go: to standard error, through the logger `greenserve` alone.

The root logger stays the application's: to configure it here would print every line of an application twice that does.
"""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_ROOT = "greenserve"


def configure_logging(level: str) -> None:
    """Send what is at least as severe as `level`, a name such as info, to standard error. Twice is harmless."""
    logger = logging.getLogger(_ROOT)
    logger.setLevel(level.upper())
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(FORMAT))
        logger.addHandler(handler)
        logger.propagate = False  # else an application that configures the root logger gets every line twice


def enable_loggers() -> None:
    """Undo an application's `logging.config.dictConfig`: it disables every logger that exists unless told not to."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if (name == _ROOT or name.startswith(_ROOT + ".")) and isinstance(logger, logging.Logger):
            logger.disabled = False
