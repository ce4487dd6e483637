"""The interpreter's own thread primitives, taken before anything can have patched them (the hub is what patching imports first)."""

from _thread import allocate_lock, get_ident, start_new_thread

__all__ = ["allocate_lock", "get_ident", "start_new_thread"]
