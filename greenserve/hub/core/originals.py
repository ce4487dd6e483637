"""The interpreter's own thread primitives, taken before anything can have patched them (the hub is imported first)."""

import sys
from _thread import RLock, _count, _local, allocate_lock, get_ident, start_new_thread

__all__ = ["RLock", "_count", "_local", "allocate_lock", "get_ident", "patched_by_another", "start_new_thread"]


def patched_by_another() -> str | None:
    """What to say when Eventlet or gevent has patched this process; None when neither has."""
    for module, record, call in (
        ("eventlet.patcher", "already_patched", "eventlet.monkey_patch()"),
        ("gevent.monkey", "saved", "gevent.monkey.patch_all()"),
    ):
        if getattr(sys.modules.get(module), record, None):
            return (
                f"{module.partition('.')[0]} has patched the standard library of this process, and greenserve cannot "
                f"work on top of that: remove the call of {call}; greenserve.monkey_patch() does the same here, and "
                "the command `greenserve` does it by itself"
            )
    return None


_refusal = patched_by_another()
if _refusal is not None:  # what was imported above, and what the poller needs, is not the interpreter's own
    raise ImportError(_refusal)
