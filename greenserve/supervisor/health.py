"""Which process hangs, has outlived its time, or is lost: each wait of the supervisor for another process has a limit.

A process that hangs first shows where (SIGUSR2), then has a moment to end by itself (SIGABRT), and is killed.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

from greenserve.supervisor.members import Generation, Member, Policy
from greenserve.supervisor.system import System
from greenserve.supervisor.table import State

SECOND = 1_000_000_000  # nanoseconds
ABORT_SECONDS, KILL_SECONDS = 1.0, 3.0  # what a worker that hangs gets to show where, and then to end
END_SECONDS = 3.0  # beyond the grace time, for a worker to end what it has killed
FORK_SECONDS = 5.0  # for a template to fork: it takes milliseconds, and a tenth of a second for gigabytes
LATE_SECONDS = 5.0  # between two ticks: this process was stopped, and maybe all of them


class Health:
    """Looks at all processes, and kills those that it has to.

    ended: called with a worker whose end will not be heard of, and how it was. forget: with one that has never begun.
    leaving: templates that are to end, by pid, and when they are killed.
    """

    def __init__(
        self, system: System, ended: Callable[[Member, str], object], forget: Callable[[Member], object]
    ) -> None:
        self.leaving: dict[int, float] = {}
        self._system = system
        self._ended = ended
        self._forget = forget
        self._policy = Policy(0)
        self._looked = system.now()

    def look(self, policy: Policy, generations: Sequence[Generation], members: Sequence[Member]) -> None:
        """Once a second; judged by `policy`."""
        now = self._system.now()
        late, self._looked = now - self._looked > LATE_SECONDS, now
        if late:  # each process gets the time to show that it lives
            return
        self._policy = policy
        for generation in generations:
            self._look_at_template(generation, now)
        for member in members:
            self._look_at(member, now)
        for pid in [pid for pid, until in self.leaving.items() if now > until]:
            self.leaving[pid] = now + KILL_SECONDS
            self._system.kill(pid, signal.SIGKILL)

    def is_alive(self, members: Sequence[Member], within: float) -> bool:
        """Whether some worker's hub has turned within so many seconds, or none is expected to."""
        now = int(self._system.now() * SECOND)
        ready = [each for each in members if each.state is State.READY]
        return not ready or any(each.slot.silence(now) < within * SECOND for each in ready)

    def _look_at_template(self, generation: Generation, now: float) -> None:
        limit = self._policy.load_timeout
        if generation.channel is None:
            return
        if now > generation.kill_by:
            generation.kill_by = now + KILL_SECONDS
            self._system.kill(generation.pid, generation.kill_with)
            generation.kill_with = signal.SIGKILL
        elif limit and not generation.loaded and not generation.reason and now - generation.started > limit:
            generation.reason = f"it was not loaded within {limit:g} s (load_timeout)"
            generation.kill_by, generation.kill_with = now + ABORT_SECONDS, signal.SIGABRT
            self._system.say(
                "error",
                f"template (pid {generation.pid}) has not loaded the application within {limit:g} s "
                "(load_timeout); it shows where it is, and is ended",
            )
            self._system.kill(generation.pid, signal.SIGUSR2)

    def _look_at(self, member: Member, now: float) -> None:
        """Whether it hangs, has outlived its time, or is lost."""
        if member.lost is not None and now - member.lost > END_SECONDS:
            self._seek(member, now)
        elif not member.pid and now - member.started > FORK_SECONDS:
            self._miss(member)
        elif now > member.leave_by:
            self._system.say("error", f"{member.name} has not ended in time, and is killed")
            member.leave_by = now + KILL_SECONDS
            self._system.kill(member.pid, signal.SIGKILL)
        elif member.state is State.STARTING:
            self._expect(member, now)
        elif self._policy.worker_timeout:
            self._feel_pulse(member, now)

    def _seek(self, member: Member, now: float) -> None:
        """Its channel has ended, and its own end was not heard of."""
        if not member.pid:
            self._ended(member, "was not started: its template has ended")
        elif member.killed:
            self._ended(member, "has ended, in a way that is not known")
        else:
            member.killed, member.lost = True, now
            self._system.say("error", f"{member.name} does not hear the supervisor any more, and is killed")
            self._system.kill(member.pid, signal.SIGKILL)

    def _miss(self, member: Member) -> None:
        """Its template does nothing."""
        pid = member.generation.pid
        self._system.say(
            "error", f"template (pid {pid}) has not forked {member.name} within {FORK_SECONDS:g} s, and is killed"
        )
        self._system.kill(pid, signal.SIGKILL)
        self._forget(member)

    def _expect(self, member: Member, now: float) -> None:
        """It has its time to be ready."""
        limit = self._policy.load_timeout
        if limit and now - member.started > limit and not member.reason:
            member.reason = f"it was not ready within {limit:g} s (load_timeout)"
            member.leave_by = now + KILL_SECONDS
            self._system.say("error", f"{member.name} is not ready after {limit:g} s (load_timeout), and is ended")
            self._system.kill(member.pid, signal.SIGABRT)

    def _feel_pulse(self, member: Member, now: float) -> None:
        silence = member.slot.silence(int(now * SECOND)) / SECOND
        if silence < self._policy.worker_timeout:
            member.warned, member.aborted = None, False
        elif member.warned is None:
            self._system.say(
                "error",
                f"something has blocked {member.name} for {silence:.0f} s (worker_timeout); it shows what, and is "
                "replaced",
            )
            member.warned = now
            self._system.kill(member.pid, signal.SIGUSR2)
        elif now - member.warned > KILL_SECONDS:
            self._system.kill(member.pid, signal.SIGKILL)
        elif now - member.warned > ABORT_SECONDS and not member.aborted:
            member.aborted = True
            self._system.kill(member.pid, signal.SIGABRT)
