"""Green `time`: `sleep` lets the other green threads run."""

from __future__ import annotations

import time as _original
from math import isnan as _isnan

from greenserve.hub.greenthread import sleep as _sleep
from greenserve.patching.rebind import complete


def sleep(seconds: float, /) -> None:
    """Let other green threads run for `seconds` at least. Raises ValueError for a negative or undefined length."""
    if not seconds >= 0:
        if _isnan(seconds):
            raise ValueError("Invalid value NaN (not a number)")
        raise ValueError("sleep length must be non-negative")
    _sleep(seconds)


__getattr__ = complete(globals(), _original)
