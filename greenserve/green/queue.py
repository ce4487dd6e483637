"""Green `queue`: a SimpleQueue in Python; the other queues are made of `threading`'s locks, and green when they are."""

from __future__ import annotations

import queue as _original
from typing import Any

from greenserve.green import threading
from greenserve.hub.sync import queue as _queue
from greenserve.patching.polling import relax_polls as _relax_polls
from greenserve.patching.reimport import Copies


class SimpleQueue(_queue.SimpleQueue[Any]):
    """As `queue.SimpleQueue`."""


SimpleQueue.__module__ = "queue"


def __getattr__(name: str) -> Any:
    """What is not defined here, from a copy of the module above the green `threading`, made at the first use."""
    if not _copies.modules:
        made = _copies.get("queue")
        vars(made).update(SimpleQueue=SimpleQueue, Empty=_original.Empty, Full=_original.Full)
        _relax_polls(made)
    return getattr(_copies.modules["queue"], name)


_copies = Copies(lambda name: threading if name == "threading" else None)
