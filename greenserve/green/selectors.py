"""Green `selectors`: the real classes, with the green `select` underneath."""

from __future__ import annotations

import selectors as _real
from typing import Any

from greenserve.green import select as _select
from greenserve.patching.rebind import complete


class SelectSelector(_real.SelectSelector):
    """On the green `select.select`."""

    def _select(self, r: Any, w: Any, _: Any, timeout: float | None = None) -> Any:
        return _select.select(r, w, [], timeout)


DefaultSelector: Any = SelectSelector

if hasattr(_real, "PollSelector"):

    class PollSelector(_real.PollSelector):
        """On the green `select.poll`."""

        _selector_cls = _select.poll

    DefaultSelector = PollSelector

if hasattr(_real, "EpollSelector"):

    class EpollSelector(_real.EpollSelector):
        """On the green `select.epoll`."""

        _selector_cls = _select.epoll

    DefaultSelector = EpollSelector

if hasattr(_real, "KqueueSelector"):
    # Its kqueue would block, and poll serves the few descriptors that synchronous code selects on as well.
    KqueueSelector = DefaultSelector

__getattr__ = complete(globals(), _real)
