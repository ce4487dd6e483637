"""An object whose methods block, behind one whose methods are called on OS threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from greenserve.hub.threadpool import ThreadPool, default_pool


class Proxy:
    """Stands for an object whose methods block: each call of one is made in a thread pool.

    pool: the default one when not given. wrap: classes whose instances, when a method returns one, come back as
    proxies too (a database connection's cursor). Attributes that are not callable are read here and now.

    >>> import io
    >>> file = greenserve.tpool.Proxy(io.StringIO("a line"))
    >>> file.readline()
    'a line'
    """

    __slots__ = ("_proxied", "_proxy_pool", "_proxy_wrap")

    def __init__(self, proxied: Any, pool: ThreadPool | None = None, wrap: tuple[type, ...] = ()) -> None:
        object.__setattr__(self, "_proxied", proxied)
        object.__setattr__(self, "_proxy_pool", pool or default_pool())
        object.__setattr__(self, "_proxy_wrap", wrap)

    def _proxy_call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = self._proxy_pool.execute(function, *args, **kwargs)
        if result is self._proxied:  # `__enter__`, `__iter__` and fluent interfaces return self
            return self
        return Proxy(result, self._proxy_pool, self._proxy_wrap) if isinstance(result, self._proxy_wrap) else result

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._proxied, name)
        if not callable(value):
            return value

        def call_in_pool(*args: Any, **kwargs: Any) -> Any:
            return self._proxy_call(value, *args, **kwargs)

        call_in_pool.__name__ = name
        call_in_pool.__doc__ = getattr(value, "__doc__", None)
        return call_in_pool

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._proxied, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._proxied, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object itself, in the pool."""
        return self._proxy_call(self._proxied, *args, **kwargs)

    def __iter__(self) -> Iterator[Any]:
        iterator = self._proxy_pool.execute(iter, self._proxied)
        end = object()
        while (item := self._proxy_call(next, iterator, end)) is not end:
            yield item

    def __next__(self) -> Any:
        end = object()
        # Not `next` alone: a StopIteration that leaves a call in another thread is awkward to tell from the caller's
        # own.
        item = self._proxy_call(next, self._proxied, end)
        if item is end:
            raise StopIteration
        return item

    def __enter__(self) -> Any:
        return self._proxy_call(type(self._proxied).__enter__, self._proxied)

    def __exit__(self, *error: Any) -> Any:
        return self._proxy_call(type(self._proxied).__exit__, self._proxied, *error)

    def __getitem__(self, key: Any) -> Any:
        return self._proxy_call(lambda: self._proxied[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._proxied[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._proxied[key]

    def __contains__(self, item: Any) -> bool:
        return bool(self._proxy_call(lambda: item in self._proxied))

    def __len__(self) -> int:
        return len(self._proxied)

    def __bool__(self) -> bool:
        return bool(self._proxied)

    def __eq__(self, other: object) -> bool:
        return bool(self._proxied == (other._proxied if isinstance(other, Proxy) else other))

    def __hash__(self) -> int:
        return hash(self._proxied)

    def __repr__(self) -> str:
        return f"<Proxy of {self._proxied!r}>"

    def __str__(self) -> str:
        return str(self._proxied)
