"""Green `sys`: what asynchronous frameworks set for an OS thread is the green thread's (hub/core/carried.py)."""

from __future__ import annotations

import sys as _original
from typing import Any

from greenserve.hub.core.carried import ASYNCGEN_HOOKS as _ASYNCGEN_HOOKS
from greenserve.hub.core.carried import ORIGIN_TRACKING as _ORIGIN_TRACKING
from greenserve.hub.core.carried import note as _note
from greenserve.patching.rebind import complete

_set_hooks = _original.set_asyncgen_hooks
_set_depth = _original.set_coroutine_origin_tracking_depth


def set_asyncgen_hooks(*args: Any, **kwargs: Any) -> None:
    """As `sys.set_asyncgen_hooks`, for the running green thread."""
    _set_hooks(*args, **kwargs)
    _note(_ASYNCGEN_HOOKS, tuple(_original.get_asyncgen_hooks()))


def set_coroutine_origin_tracking_depth(depth: int) -> None:
    """As `sys.set_coroutine_origin_tracking_depth`, for the running green thread."""
    _set_depth(depth)
    _note(_ORIGIN_TRACKING, depth)


__getattr__ = complete(globals(), _original)
