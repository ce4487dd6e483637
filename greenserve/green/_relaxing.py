"""The standard library's own questions, such as `Future.done`, asked in a loop: they let others run now and then."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from greenserve.hub.busywait import relax


def relaxing(owner: Any, *names: str) -> None:
    """Have `owner`'s functions of these names (a module's, or a class's) call `relax` first: those that never wait."""
    for name in names:
        setattr(owner, name, _relaxing(getattr(owner, name)))


def _relaxing(question: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(question)
    def ask(*args: Any, **kwargs: Any) -> Any:
        relax()
        return question(*args, **kwargs)

    return ask


def relax_futures(base: Any) -> None:
    """Of `concurrent.futures._base`."""
    relaxing(base.Future, "done", "running", "cancelled")


def relax_queues(queue: Any) -> None:
    """Of `queue`. Its `get` and `put` fail by leaving a `with` of a Condition, which sees to it."""
    relaxing(queue.Queue, "qsize", "empty", "full")


def relax_threads(threading: Any) -> None:
    """Of `threading`."""
    relaxing(threading, "active_count", "enumerate")
