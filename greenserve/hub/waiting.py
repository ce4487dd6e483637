"""Waiting for many green threads: in the order of their ends, for all, for some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from greenserve.hub.core.hub import current_hub
from greenserve.hub.greenthread import GreenThread
from greenserve.hub.sync.queue import Empty, LightQueue

T = TypeVar("T")


def iwait(threads: Iterable[GreenThread[T]], timeout: float | None = None) -> Iterator[GreenThread[T]]:
    """The threads in the order of their ends; those that have ended already come first. Ends early after `timeout`
    seconds.

    >>> slow, quick = greenserve.spawn(greenserve.sleep, 0.02), greenserve.spawn(greenserve.sleep, 0)
    >>> [thread is quick for thread in greenserve.iwait([slow, quick])]
    [True, False]
    """
    waited_for = list(dict.fromkeys(threads))
    ended: LightQueue[GreenThread[T]] = LightQueue()
    clock = current_hub().clock
    deadline = None if timeout is None else clock() + timeout
    for thread in waited_for:
        thread.link(ended.put)
    try:
        for _ in waited_for:
            try:
                yield ended.get(timeout=None if deadline is None else max(0.0, deadline - clock()))
            except Empty:
                return
    finally:
        for thread in waited_for:
            thread.unlink(ended.put)


def joinall(
    threads: Iterable[GreenThread[T]], timeout: float | None = None, raise_error: bool = False, count: int | None = None
) -> list[GreenThread[T]]:
    """Wait for the ends of all threads, or of `count` of them, at most `timeout` seconds. Returns those that have
    ended.

    raise_error: raise the error of the first that ends with one, at once.

    >>> threads = [greenserve.spawn(greenserve.sleep, seconds) for seconds in (0, 60)]
    >>> len(greenserve.joinall(threads, timeout=0.05))
    1
    >>> threads[1].kill()
    """
    ended: list[GreenThread[T]] = []
    if count is not None and count <= 0:
        return ended
    for thread in iwait(threads, timeout):
        if raise_error and thread.error is not None:
            thread.wait()
        ended.append(thread)
        if len(ended) == count:
            break
    return ended


def waitall(threads: Iterable[GreenThread[Any]], timeout: float | None = None) -> list[Any]:
    """Wait for all threads. Returns their results, in the order of `threads`.

    Raises the error of the first that ends with one, at once, and TimeoutError after `timeout` seconds; the others
    go on.

    >>> greenserve.waitall([greenserve.spawn(pow, 2, number) for number in (1, 2, 3)])
    [2, 4, 8]
    """
    threads = list(threads)
    ended = joinall(threads, timeout, raise_error=True)
    late = len(set(threads)) - len(ended)
    if late:
        raise TimeoutError(f"{late} of {len(threads)} green threads did not end within {timeout} seconds")
    return [thread.wait() for thread in threads]
