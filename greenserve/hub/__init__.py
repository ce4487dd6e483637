"""The green-thread hub. Knows nothing of HTTP, and imports nothing of the project but its errors.

hub.py is the kernel: tokens, parking, the loop. Everything that green threads wait for is written with five names of it::

    greenlet = running()                  # who I am
    token = [greenlet]                    # my one-shot claim, put where a waker finds it
    outcome = greenlet.hub.park_until(greenlet, token, deadline)     # TIMED_OUT, or what the waker gave
    wake(token, outcome)                  # from anywhere; False: somebody else was first
"""

from greenserve.hub.greenthread import (
    GreenThread,
    get_ident,
    getcurrent,
    kill,
    sleep,
    spawn,
    spawn_after,
    spawn_after_local,
    spawn_n,
)
from greenserve.hub.hub import TIMED_OUT, Hub, current_hub, running, use_hub, wake
from greenserve.hub.timeout import Timeout, is_timeout, with_timeout

__all__ = [
    "TIMED_OUT",
    "GreenThread",
    "Hub",
    "Timeout",
    "current_hub",
    "get_ident",
    "getcurrent",
    "is_timeout",
    "kill",
    "running",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_after_local",
    "spawn_n",
    "use_hub",
    "wake",
    "with_timeout",
]
