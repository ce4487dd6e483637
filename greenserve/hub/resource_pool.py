"""Pools of things that are made once and used by one at a time, such as database connections."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from greenserve.hub.sync.room import Room

T = TypeVar("T")


class Pool(Generic[T]):
    """At most `max_size` items, made when they are needed; when all are in use, `get` waits, first come, first served.

    min_size: how many are made at once. order_as_stack: hand out the item that was given back last, not the one
    that has been idle longest. create: makes an item; or override `create`. check: whether an idle item is still
    good, asked before it is handed out; if it returns something false or raises an Exception, the item is disposed
    of and the next one tried. dispose: called with an item that is dropped.

    >>> import sqlite3
    >>> connections = greenserve.Pool(max_size=4, create=lambda: sqlite3.connect(":memory:"))
    >>> with connections.item(timeout=5) as connection:
    ...     connection.execute("select 40 + 2").fetchone()
    (42,)
    >>> connections.get() is connection  # which is idle again
    True
    >>> connection.close()
    """

    def __init__(
        self,
        min_size: int = 0,
        max_size: int = 4,
        order_as_stack: bool = False,
        create: Callable[[], T] | None = None,
        *,
        check: Callable[[T], object] | None = None,
        dispose: Callable[[T], object] | None = None,
    ) -> None:
        if not 0 <= min_size <= max_size:
            raise ValueError(f"0 <= min_size <= max_size does not hold for {min_size} and {max_size}")
        self.min_size = min_size
        self.max_size = max_size
        self.order_as_stack = order_as_stack
        self._create = create
        self._check = check
        self._dispose = dispose
        self._room = Room(max_size)  # a permit for each item that may be out
        self._out: dict[int, T] = {}
        self.free_items: collections.deque[T] = collections.deque()
        for _ in range(min_size):
            self.free_items.append(self.create())

    def create(self) -> T:
        """Make an item. May be overridden, and may wait."""
        if self._create is None:
            raise NotImplementedError("give Pool a `create`, or override its method of this name")
        return self._create()

    def get(self, timeout: float | None = None) -> T:
        """Take an item; wait until one is free. Raises TimeoutError after `timeout` seconds; what `create` raises."""
        if not self._room.acquire(timeout=timeout):
            raise TimeoutError(f"none of the pool's {self.max_size} items became free within {timeout} seconds")
        try:
            item = self._idle_or_new()
        except BaseException:
            self._room.give_back()
            raise
        self._out[id(item)] = item
        return item

    def _idle_or_new(self) -> T:
        idle = self.free_items
        while idle:
            try:
                item = idle.pop() if self.order_as_stack else idle.popleft()
            except IndexError:
                break
            if self._is_good(item):
                return item
        return self.create()

    def _is_good(self, item: T) -> bool:
        if self._check is None:
            return True
        good = False
        try:
            good = bool(self._check(item))
        except Exception:  # noqa: S110 - that is how a dead connection answers to a ping
            pass
        finally:
            if not good:
                self._drop(item)
        return good

    def put(self, item: T) -> None:
        """Give an item back: to the first waiter, if there is one."""
        self._out.pop(id(item), None)
        if self._room.pay_debt():
            self._drop(item)
            return
        # Before the permit: the thread that gets that finds the item.
        self.free_items.append(item)
        self._room.release()

    def discard(self, item: T) -> None:
        """Give back the place of an item that is broken: a new one will be made when it is needed."""
        self._out.pop(id(item), None)
        self._drop(item)
        self._room.give_back()

    def _drop(self, item: T) -> None:
        if self._dispose is not None:
            self._dispose(item)

    @contextmanager
    def item(self, timeout: float | None = None) -> Iterator[T]:
        """An item for a `with` block; given back at its end, unless the block has discarded it."""
        item = self.get(timeout)
        try:
            yield item
        finally:
            if id(item) in self._out:
                self.put(item)

    def resize(self, new_size: int) -> None:
        """Change `max_size`. Idle items beyond it are dropped, others when they are given back."""
        if new_size < 0:
            raise ValueError("a pool's size cannot be negative")
        before, self.max_size = self.max_size, new_size
        self._room.resize(new_size - before)
        while self.free_items and self.current_size > new_size:
            self._drop(self.free_items.popleft())

    @property
    def current_size(self) -> int:
        """How many items there are, idle or out."""
        return len(self.free_items) + len(self._out)

    def free(self) -> int:
        """How many could be taken without waiting."""
        return max(0, self._room.balance)

    def waiting(self) -> int:
        """How many wait for one."""
        return max(0, -self._room.balance)

    def __repr__(self) -> str:
        name = f"greenserve.{type(self).__qualname__}"
        return f"<{name} at {id(self):#x}: {len(self.free_items)} idle, {len(self._out)} out, {self.waiting()} waiting>"


class Token:
    """A thing without properties, for limiting a number alone."""


class TokenPool(Pool[Any]):
    """A pool of tokens: a way to say that at most `max_size` do something at a time.

    >>> licences = greenserve.TokenPool(max_size=2)
    >>> with licences.item(), licences.item():
    ...     licences.free()
    0
    """

    def create(self) -> Any:
        """A new token."""
        return Token()
