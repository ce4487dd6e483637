"""The green-thread hub. Knows nothing of HTTP, and imports nothing of the project but its errors.

hub.py is the kernel: tokens, parking, the loop. All that green threads wait for is written with five names of it::

    greenlet = running()                  # the running greenlet
    token = [greenlet]                    # my one-shot claim, put where a waker finds it
    outcome = greenlet.hub.park_until(greenlet, token, deadline)     # TIMED_OUT, or what the waker gave
    wake(token, outcome)                  # from anywhere; False: another waker was first
"""

from greenserve.hub.core.hub import TIMED_OUT, Hub, current_hub, running, use_hub, wake
from greenserve.hub.dag import run_dag
from greenserve.hub.greenpool import GreenPile, GreenPool
from greenserve.hub.greenthread import GreenThread, get_ident, getcurrent, kill, sleep
from greenserve.hub.resource_pool import Pool, TokenPool
from greenserve.hub.spawning import spawn, spawn_after, spawn_after_local, spawn_n
from greenserve.hub.sync.condition import Barrier, BrokenBarrierError, Condition
from greenserve.hub.sync.event import AsyncResult, Event, Flag
from greenserve.hub.sync.local import local
from greenserve.hub.sync.lock import BoundedSemaphore, Lock, Semaphore
from greenserve.hub.sync.queue import (
    Channel,
    Empty,
    Full,
    LifoQueue,
    LightQueue,
    PriorityQueue,
    Queue,
    ShutDown,
    SimpleQueue,
)
from greenserve.hub.sync.rlock import RLock
from greenserve.hub.taskgroup import TaskGroup
from greenserve.hub.timeout import Timeout, is_timeout, with_timeout
from greenserve.hub.waiting import iwait, joinall, waitall

__all__ = [
    "TIMED_OUT",
    "AsyncResult",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Channel",
    "Condition",
    "Empty",
    "Event",
    "Flag",
    "Full",
    "GreenPile",
    "GreenPool",
    "GreenThread",
    "Hub",
    "LifoQueue",
    "LightQueue",
    "Lock",
    "Pool",
    "PriorityQueue",
    "Queue",
    "RLock",
    "Semaphore",
    "ShutDown",
    "SimpleQueue",
    "TaskGroup",
    "Timeout",
    "TokenPool",
    "current_hub",
    "get_ident",
    "getcurrent",
    "is_timeout",
    "iwait",
    "joinall",
    "kill",
    "local",
    "run_dag",
    "running",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_after_local",
    "spawn_n",
    "use_hub",
    "waitall",
    "wake",
    "with_timeout",
]
