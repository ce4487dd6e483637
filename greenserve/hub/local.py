"""local: attributes of which each green thread has its own.

Strategy: the attributes are in a dict that the thread keeps for us (GreenThread.locals) and drops at its end. The
key there is an object that only this `local` and the threads refer to; when the `local` dies, the key is taken out
of all threads that still live. Looking for an attribute in the thread's dict first is right, since `__setattr__`
puts nothing there that the class has a data descriptor for.
"""

from __future__ import annotations

import weakref
from typing import Any, Self

from greenlet import getcurrent as _getcurrent

from greenserve.hub.greenthread import getcurrent
from greenserve.hub.parking import Loop


class _Key:
    """What a thread's attributes of one `local` are kept under, with what `__init__` is called with in each thread."""

    __slots__ = ("args", "kwargs", "threads")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.threads: weakref.WeakSet[Any] = weakref.WeakSet()


def _forget(key: _Key) -> None:
    """The `local` is gone: let its attributes go too."""
    for thread in list(key.threads):
        if thread.locals is not None:
            thread.locals.pop(key, None)


class local:
    """Attributes of which each green thread, and each OS thread, has its own; they die with it. As `threading.local`.

    A subclass's `__init__` is called in each thread that uses the object, with the arguments that it was made with.

    >>> request = greenserve.local()
    >>> request.user = "Ada"
    >>> greenserve.spawn(hasattr, request, "user").wait()
    False
    """

    __slots__ = ("__weakref__", "_local__key")

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the arguments for the other threads."""
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError("arguments for a local need a subclass with an __init__ that takes them")
        self = object.__new__(cls)
        key = _Key(args, kwargs)
        object.__setattr__(self, "_local__key", key)
        weakref.finalize(self, _forget, key).atexit = False
        if cls.__init__ is not object.__init__:
            _begin(key)  # __init__ is about to be called in this thread; otherwise the first use does, not an import
        return self

    def __getattribute__(self, name: str) -> Any:
        try:
            attributes = _getcurrent().thread.locals[_key_of(self)]  # type: ignore[attr-defined]
        except (AttributeError, TypeError, KeyError, RuntimeError):  # the first use in this thread, or of any local
            attributes = _attributes(self)
        if name in attributes:
            return attributes[name]
        if name == "__dict__":
            return attributes
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        if _has_data_descriptor(type(self), name):
            object.__setattr__(self, name, value)
        else:
            _attributes(self)[name] = value

    def __delattr__(self, name: str) -> None:
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        attributes = _attributes(self)
        if name in attributes:
            del attributes[name]
        elif _has_data_descriptor(type(self), name):
            object.__delattr__(self, name)
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_key_of: Any = local.__dict__["_local__key"].__get__  # the slot, past __getattribute__


class _TheLast:
    """Has `locals` while the interpreter ends."""

    def __init__(self) -> None:
        self.locals: dict[Any, dict[str, Any]] | None = None


_THE_LAST = _TheLast()


def _current() -> Any:
    """Who has `locals`: the green thread, or the hub's own greenlet when it makes a call."""
    try:
        greenlet: Any = _getcurrent()
    except RuntimeError:  # a finaliser, while the interpreter ends: what threads had is gone
        return _THE_LAST
    try:
        thread = greenlet.thread
    except AttributeError:
        if not isinstance(greenlet, Loop):
            return getcurrent()
        greenlet.__dict__.setdefault("locals", None)
        return greenlet
    return getcurrent() if thread is None else thread


def _attributes(self: local) -> dict[str, Any]:
    key: _Key = _key_of(self)
    kept = _current().locals
    if kept is not None and key in kept:
        return kept[key]  # type: ignore[no-any-return]  # put there by _begin
    attributes = _begin(key)
    if type(self).__init__ is not object.__init__:
        try:
            type(self).__init__(self, *key.args, **key.kwargs)
        except BaseException:
            del _current().locals[key]  # the next use tries again
            raise
    return attributes


def _begin(key: _Key) -> dict[str, Any]:
    thread = _current()
    if thread.locals is None:
        thread.locals = {}
    attributes: dict[str, Any] = {}
    thread.locals[key] = attributes
    key.threads.add(thread)
    return attributes


def _has_data_descriptor(cls: type, name: str) -> bool:
    for base in cls.__mro__:
        if name in base.__dict__:
            return hasattr(type(base.__dict__[name]), "__set__")
    return False
