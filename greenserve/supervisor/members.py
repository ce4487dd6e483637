"""The processes below the supervisor, as it sees them: templates, each with what it has loaded, and workers."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, NamedTuple

from greenserve.supervisor.channel import Channel
from greenserve.supervisor.table import Cell, Slot, State


class Policy(NamedTuple):
    """What the settings say to the supervisor; a loaded template brings them."""

    workers: int
    worker_timeout: float = 30.0  # seconds; 0: never
    graceful_timeout: float = 30.0
    drain_delay: float = 0.0
    load_timeout: float = 300.0  # to load the application, and for a worker to be ready; 0: any time
    announcement: Sequence[str] = ()  # what is said when the first worker is ready
    urls: Sequence[str] = ()
    hooks: bool = False  # the template wants to hear of the workers' ends, and of the server's
    watch: dict[str, Any] | None = None  # files whose change is a reload (--reload); then workers load the application

    @classmethod
    def of(cls, message: dict[str, Any]) -> Policy:
        """As a template says it, which may be of a greenserve that was installed since, and say more."""
        return cls(**{name: value for name, value in message.items() if name in cls._fields})


class Generation:
    """The application as it is loaded by a template process, which forks workers of it.

    channel: the way to the template; None: there is none. proven: a worker of it was ready. program: the words by which
    a supervisor of its greenserve is run. deaf: the template has closed its end of the channel.
    """

    def __init__(self, number: int, pid: int = 0, channel: Channel | None = None) -> None:
        self.number = number
        self.policy = Policy(0)
        self.proven = False
        self.program: Sequence[str] = ()
        self.begin(pid, channel)

    def begin(self, pid: int, channel: Channel | None, now: float = 0.0) -> None:
        """A template has been started."""
        self.pid = pid
        self.channel = channel
        self.started = now
        self.loaded = False
        self.deaf = False
        self.reason = ""  # why it could not be loaded
        self.kill_by = float("inf")  # when its template is killed
        self.kill_with = signal.SIGKILL


class Member:
    """A worker, as the supervisor sees it."""

    def __init__(self, slot: Slot, generation: Generation, channel: Channel, now: float) -> None:
        self.started = now
        self.slot = slot
        self.generation = generation
        self.channel = channel
        self.state = State.STARTING
        self.ready_since = 0.0
        self.replace = ""  # why it is to be replaced
        self.reason = ""  # why it could not begin
        self.leave_by = float("inf")  # when it is killed
        self.warned: float | None = None  # when it was told to show where it hangs
        self.aborted = False
        self.dismissed = False  # for the sake of new code (--reload): what it has to kill does not count
        self.lost: float | None = None  # when its channel has ended
        self.killed = False  # because its channel has

    @property
    def pid(self) -> int:
        """0: not known yet."""
        return self.slot[Cell.PID]

    @property
    def name(self) -> str:
        """As log lines call it."""
        return self.slot.name
