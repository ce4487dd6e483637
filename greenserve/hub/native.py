"""The interpreter's own thread primitives, taken before anything can have patched them (the hub is imported first)."""

from _thread import RLock, _count, allocate_lock, get_ident, start_new_thread

__all__ = ["RLock", "_count", "allocate_lock", "get_ident", "start_new_thread"]
