"""Queue, LifoQueue, PriorityQueue, SimpleQueue and Channel. light_queue.py tells how they work.

maxsize is as in Eventlet: None is without limit, and 0 a rendezvous, in which put waits for a get. (In the standard
library 0 is without limit.)
"""

from __future__ import annotations

import heapq
import sys
from itertools import repeat
from operator import length_hint
from typing import TypeVar

from greenserve.hub.core.busy_wait import relax
from greenserve.hub.core.hub import TIMED_OUT
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.hub.sync.light_queue import ATOMIC_HOOKS, TRANSPARENT_HOOKS, Empty, Full, LightQueue, ShutDown

__all__ = [
    "Channel",
    "Empty",
    "Full",
    "LifoQueue",
    "LightQueue",
    "PriorityQueue",
    "Queue",
    "ShutDown",
    "SimpleQueue",
]

T = TypeVar("T")

COUNT = sys.maxsize  # more than can be put


class Queue(LightQueue[T]):
    """A queue that knows when everything that was put has been dealt with: first in, first out.

    >>> queue = greenserve.Queue()
    >>> def work():
    ...     for item in queue:
    ...         queue.task_done()
    >>> worker = greenserve.spawn(work)
    >>> queue.put("a job")
    >>> queue.join()
    True
    >>> queue.shutdown()
    """

    def __init__(self, maxsize: int | None = None) -> None:
        super().__init__(maxsize)
        # Two iterators that count down: next() is atomic, and length_hint reads them. An int's += is neither promised.
        self._puts = repeat(True, COUNT)
        self._dones = repeat(True, COUNT)
        self._joiners = WaitQueue()

    @property
    def unfinished_tasks(self) -> int:
        """How many items were put for which `task_done` has not been called."""
        relax()
        return self._unfinished()

    def _unfinished(self) -> int:
        return length_hint(self._dones) - length_hint(self._puts)

    def task_done(self) -> None:
        """An item that was got has been dealt with. Raises ValueError when that was said of all items already."""
        if self._unfinished() <= 0:
            raise ValueError("task_done() called too many times")
        self._uncount()

    def _uncount(self) -> None:
        next(self._dones)
        if self._unfinished() <= 0:
            self._joiners.wake_all()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until everything has been dealt with, at most `timeout` seconds. Returns whether it has."""
        if self._unfinished() <= 0:
            return True
        return self._joiners.wait(timeout, unless=lambda: self._unfinished() <= 0) is not TIMED_OUT

    def _throw_away(self) -> None:
        super()._throw_away()
        if self._unfinished() > 0:
            self.task_done()


class LifoQueue(Queue[T]):
    """A queue of which the last item put is the first got.

    >>> queue = greenserve.LifoQueue()
    >>> queue.put("first"), queue.put("second"), queue.get()
    (None, None, 'second')
    """

    def _init(self, maxsize: int | None) -> None:
        self.queue: list[T] = []

    def _get(self) -> T:
        return self.queue.pop()


ATOMIC_HOOKS.add((LifoQueue._init, LifoQueue._qsize, LifoQueue._put, LifoQueue._get))


class PriorityQueue(Queue[T]):
    """A queue of which the least item is the first got; typically they are tuples (priority, data).

    >>> queue = greenserve.PriorityQueue()
    >>> queue.put((2, "later")), queue.put((1, "sooner")), queue.get()
    (None, None, (1, 'sooner'))
    """

    def _init(self, maxsize: int | None) -> None:
        self.queue: list[T] = []

    def _put(self, item: T) -> None:
        heapq.heappush(self.queue, item)  # type: ignore[type-var]  # heapq says so when they cannot be compared

    def _get(self) -> T:
        return heapq.heappop(self.queue)  # type: ignore[type-var]  # as above


TRANSPARENT_HOOKS.add((PriorityQueue._init, PriorityQueue._qsize, PriorityQueue._put, PriorityQueue._get))


class SimpleQueue(LightQueue[T]):
    """A queue without limit, as `queue.SimpleQueue`. put never waits, and may be called in finalisers and signal
    handlers.

    >>> queue = greenserve.SimpleQueue()
    >>> queue.put("item")
    >>> queue.get(), queue.empty()
    ('item', True)
    """

    def __init__(self) -> None:
        super().__init__()


class Channel(LightQueue[T]):
    """A rendezvous: put waits until a get takes the item.

    >>> channel = greenserve.Channel()
    >>> getter = greenserve.spawn(channel.get)
    >>> channel.put("hand to hand")
    >>> getter.wait()
    'hand to hand'
    """

    def __init__(self) -> None:
        super().__init__(0)
