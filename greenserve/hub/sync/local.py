"""local: attributes of which each green thread has its own.

Strategy: the attributes are in a dict that the thread keeps for us (GreenThread.locals) and drops at its end. The
key there is an object that only this `local` and the threads refer to; when the `local` dies, the key is taken out
of all threads that still live.
"""

from __future__ import annotations

import weakref
from typing import Any, Self

from greenlet import getcurrent as _getcurrent

from greenserve.hub.core.greenlets import Loop
from greenserve.hub.greenthread import getcurrent


class _Key:
    """What a thread's attributes of one `local` are kept under, with what `__init__` is called with in each thread.

    shared: the names that the class has a data descriptor for (a slot, a property), which come before attributes.
    """

    __slots__ = ("args", "kwargs", "shared", "threads")

    def __init__(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.shared = _shared_names(cls)
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
        key = _Key(cls, args, kwargs)
        object.__setattr__(self, "_local__key", key)
        weakref.finalize(self, _forget, key).atexit = False
        if cls.__init__ is not object.__init__:
            _begin(key)  # __init__ is about to be called in this thread; otherwise the first use does, not an import
        return self

    def __getattribute__(self, name: str) -> Any:
        key = _key_of(self)
        try:
            attributes = _getcurrent().thread.locals[key]  # type: ignore[attr-defined]
        except (AttributeError, TypeError, KeyError, RuntimeError):  # the first use in this thread, or of any local
            attributes = _attributes(self)
        if name in attributes and not (key.shared and name in key.shared):
            return attributes[name]
        if name == "__dict__":
            return attributes
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        if _has_data_descriptor(type(self), name):
            object.__setattr__(self, name, value)
            if name == "__class__":
                _key_of(self).shared = _shared_names(value)
        else:
            _attributes(self)[name] = value

    def __delattr__(self, name: str) -> None:
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        attributes = _attributes(self)
        if _has_data_descriptor(type(self), name):
            object.__delattr__(self, name)
        elif name in attributes:
            del attributes[name]
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if name != "_local__key"]

    def __getstate__(self) -> object:
        """What `copy` and `pickle` ask: of the standard library's no copy can be made either."""
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")


_key_of: Any = local.__dict__["_local__key"].__get__  # the slot, past __getattribute__


class _TheLast:
    """Has `locals` while the interpreter ends."""

    def __init__(self) -> None:
        self.locals: dict[Any, dict[str, Any]] | None = None


_THE_LAST = _TheLast()


def _current() -> Any:
    """The owner of `locals`: the green thread, or the hub's own greenlet when it makes a call."""
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
            return _is_data_descriptor(base.__dict__[name])
    return False


def _is_data_descriptor(value: object) -> bool:
    kind = type(value)
    return hasattr(kind, "__set__") or hasattr(kind, "__delete__")


_shared_of: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()


def _shared_names(cls: type) -> frozenset[str]:
    names = _shared_of.get(cls)
    if names is None:
        found: dict[str, bool] = {}
        for base in cls.__mro__[: cls.__mro__.index(local)]:
            for name, value in base.__dict__.items():
                found.setdefault(name, _is_data_descriptor(value) and hasattr(type(value), "__get__"))
        names = _shared_of[cls] = frozenset(name for name, shared in found.items() if shared)
    return names
