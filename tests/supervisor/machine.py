"""A machine without processes: what the supervisor asks of it is written down, and a test says what happens."""

from __future__ import annotations

from typing import Any

from greenserve.supervisor.channel import Gone
from greenserve.supervisor.members import Generation, Member
from greenserve.supervisor.supervisor import Supervisor
from greenserve.supervisor.table import Cell, State, Table


class End:
    """One end of a channel. sent: what was sent from it, with the descriptors' number."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = False
        self.closed = False

    def send(self, message: dict[str, Any], *descriptors: object) -> None:
        if self.gone or self.closed:
            raise Gone("gone")
        self.sent.append(message)

    fd = -1

    def close(self) -> None:
        self.closed = True


class FakeMachine:
    """A `System`, with the supervisor on it."""

    def __init__(self, slots: int = 20) -> None:
        self.time = 1000.0
        self.lines: list[tuple[str, str]] = []
        self.told: list[dict[str, object]] = []
        self.watched: list[dict[str, Any]] = []
        self.killed: list[tuple[int, int]] = []
        self.refuses = False  # to start templates
        self.pids = iter(range(100, 1_000_000))
        self.templates: dict[int, End] = {}  # those that live
        self.table = Table(slots)
        self.supervisor: Supervisor = Supervisor(self, self.table, Generation(1, *self.start_template()))

    # -- System

    def now(self) -> float:
        return self.time

    def start_template(self) -> Any:
        if self.refuses:
            raise OSError("no more processes")
        pid, end = next(self.pids), End()
        self.templates[pid] = end
        return pid, end

    def channel_pair(self) -> Any:
        return End(), End()

    def channel_of(self, fd: int) -> Any:
        return End()

    def close_listeners(self, templates: Any) -> None:
        assert not any({"drain": False} in each.channel.sent for each in self.supervisor.members)  # type: ignore[attr-defined]
        self.closed = list(templates)

    def kill(self, pid: int, signum: int) -> None:
        self.killed.append((pid, signum))

    def say(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    def tell(self, **fields: object) -> None:
        self.told.append(fields)

    def watch(self, scope: dict[str, Any]) -> None:
        self.watched.append(scope)

    def watch_more(self, message: dict[str, Any]) -> None:
        self.watched.append(message)

    # -- what happens

    def load(self, workers: int = 3, **policy: object) -> None:
        """The newest template has loaded the application, and forks what it is asked for."""
        self.supervisor.heard_template(
            self.supervisor.generation, {"loaded": {"workers": workers, **policy}, "program": ["new"]}
        )
        self.fork()

    def fork(self) -> None:
        """The workers that were asked for have begun."""
        for member in self.supervisor.members:
            if not member.pid:
                member.slot[Cell.PID] = next(self.pids)
                self.beat(member)

    def ready(self, *members: Member) -> None:
        """These, or all that are starting, are ready."""
        for member in members or tuple(self.starting):
            self.supervisor.heard_worker(member, {"ready": True})
        self.fork()

    def end(self, *members: Member, how: str = "has ended", code: int | None = 0) -> None:
        """These, or all that drain, have ended; and the templates whose channel is closed."""
        for member in members or tuple(self.draining):
            self.supervisor.exited(member.pid, how, code)
        for pid in [pid for pid, end in self.templates.items() if end.closed]:
            del self.templates[pid]
            self.supervisor.exited(pid, "has ended", 0)
        self.fork()

    def beat(self, *members: Member) -> None:
        """The hubs of these, or of all, have turned."""
        for member in members or tuple(self.supervisor.members):
            member.slot[Cell.HEARTBEAT] = int(self.time * 1e9)

    def pass_time(self, seconds: float, *stuck: Member) -> None:
        """Second by second; all hubs turn but those of `stuck`."""
        for _ in range(int(seconds)):
            self.time += 1
            self.beat(*(each for each in self.supervisor.members if each not in stuck))
            self.supervisor.tick()
            self.fork()

    # -- what is there

    def _in(self, state: State) -> list[Member]:
        return [each for each in self.supervisor.members if each.state is state]

    @property
    def starting(self) -> list[Member]:
        return self._in(State.STARTING)

    @property
    def serving(self) -> list[Member]:
        return self._in(State.READY)

    @property
    def draining(self) -> list[Member]:
        return self._in(State.DRAINING)

    def said(self, level: str) -> str:
        return "\n".join(text for each, text in self.lines if each == level)
