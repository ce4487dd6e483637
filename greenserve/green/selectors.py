"""Green `selectors`: the original classes, with the green `select` underneath."""

from __future__ import annotations

import selectors as _original
from typing import Any

from greenserve.green import select as _select
from greenserve.patching.rebind import complete


class SelectSelector(_original.SelectSelector):
    """On the green `select.select`."""

    def _select(self, r: Any, w: Any, _: Any, timeout: float | None = None) -> Any:
        return _select.select(r, w, [], timeout)


class PollSelector(_original.PollSelector):
    """On the green `select.poll`."""

    _selector_cls = _select.poll


DefaultSelector: Any = PollSelector

if hasattr(_original, "EpollSelector"):

    class EpollSelector(_original.EpollSelector):
        """On the green `select.epoll`."""

        _selector_cls = _select.epoll

    DefaultSelector = EpollSelector

if hasattr(_original, "KqueueSelector"):
    # Its kqueue would block, and poll serves the few descriptors that synchronous code selects on as well.
    KqueueSelector = DefaultSelector

__getattr__ = complete(globals(), _original)
