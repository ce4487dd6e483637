"""What the supervisor does, when something happens: which worker to start, to replace, to end. No I/O but by `System`.

Strategy. Every event changes what is known, and `_reconcile` then takes the next steps from what is there to what
should be: as many ready workers as are wanted, all of the newest code, and none that is to be replaced. A crash, a
reload, recycling, TTIN and TTOU, and the first start differ in what is known, not in what is done.

Invariants. A worker leaves only when its successor is ready, unless it has died or the server stops. While new code
has not proved itself by a ready worker, the template of the old code is kept: so there is always a way back. One worker
at a time is replaced.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, Self

from greenserve.supervisor.channel import Gone
from greenserve.supervisor.health import END_SECONDS, Health
from greenserve.supervisor.members import Generation, Member, Policy
from greenserve.supervisor.system import System
from greenserve.supervisor.table import Cell, Slot, State, Table

FORCED = 1  # exit status: requests were killed
NOT_LOADED = 3  # exit status: the application could not be loaded, or no worker of it became ready
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a further worker is started where they keep dying
STEADY_SECONDS = 10.0  # a worker that was ready for as long has not died at its start
OUTDATED_SECONDS = 2.0  # what requests in progress get when files have changed (--reload)


class Supervisor:
    """Keeps `wanted` workers. `exit_code` is set when all is over.

    first: the generation whose template has been started. policy: until it brings its own.
    """

    def __init__(self, system: System, table: Table, first: Generation, policy: Policy | None = None) -> None:
        first.started = system.now()
        self.generation = first  # whose workers are wanted
        self.before: Generation | None = None  # the one that goes on if the newest fails
        self.members: list[Member] = []
        self.wanted = 0
        self.policy = policy or Policy(0)
        self.stopping = False
        self.exit_code: int | None = None
        self._system = system
        self._table = table
        self._code = 0  # what exit_code is to be
        self._announced = False
        self._end_at: float | None = None  # when the drain delay is over
        self._again = False  # another reload was asked for meanwhile
        self._failures = 0  # processes that have died at their start, one after the other
        self._not_before = 0.0  # when the next one may start
        self._upgrades = False  # the supervisor itself is replaced as well, at the end of the reload
        self.successor: Sequence[str] = ()  # the program that is to take this one's place, when it can
        self._untold: list[dict[str, Any]] = []  # messages for a template with hooks
        self._trouble = ""  # why the next workers show a page in the place of the application; with --reload only
        self.health = Health(system, self._ended, self._forget)

    # -- what happens

    def upgrade(self) -> None:
        """As `reload`, and then have this process run the new code, too."""
        if not self.is_ending():
            self._upgrades = True
            self.reload()

    def reload(self) -> None:
        """Load the application anew, and replace all workers by such of the new code."""
        if self.is_ending():
            return
        if self.policy.watch is not None:
            self._renew(with_settings=True)
            return
        if self.before is not None or not self.generation.proven or self.successor:
            self._again = True
            self._system.say("info", "the application is being loaded already; another reload follows")
            return
        self._system.tell(RELOADING=1, MONOTONIC_USEC=int(self._system.now() * 1e6), STATUS="reloading")
        new = Generation(self.generation.number + 1)
        if self._load(new):
            self.before, self.generation = self.generation, new
            self._table[0][Cell.STATE] = State.STARTING
            self._system.say("info", f"loading the application anew in template (pid {new.pid})")
        else:
            self._count(Cell.NOT_RELOADED)
            self._tell_ready("the last reload has failed: no process could be started")

    def watch_files(self) -> None:
        """Those whose changes are to be told, if any."""
        if self.policy.watch is not None:
            self._system.watch(self.policy.watch)

    def changed(self, what: str, settings: bool) -> None:
        """With --reload: files have changed, named in words. From now on new code answers, or what is wrong with it.

        settings: also those that a template has read.
        """
        if not self.is_ending():
            watch = self.policy.watch or {}
            self._renew(with_settings=settings or bool(watch.get("anew")))
            self._system.say("info", f"reloading: {what} changed")

    def heard_template(self, generation: Generation, message: dict[str, Any]) -> None:
        """A message of a template."""
        if "failed" in message:
            generation.reason = str(message["failed"])
            generation.kill_by = self._system.now() + END_SECONDS
        elif "loaded" in message:
            generation.loaded = True
            generation.program = message["program"]
            generation.policy = Policy.of(message["loaded"])
            if not generation.proven and (self.before is None or self.policy.watch is not None):
                self._adopt(generation)
            self._tell_hooks()
            self.watch_files()
            self._reconcile()
        elif "unforked" in message:
            for member in [each for each in self.members if each.slot.index == message["unforked"] and not each.pid]:
                self._cannot_start(member.name, str(message["why"]))
                self._forget(member)

    def template_lost(self, generation: Generation) -> None:
        """A template has closed its channel: its end is about to be heard of."""
        generation.deaf = True
        generation.kill_by = min(generation.kill_by, self._system.now() + END_SECONDS)

    def heard_worker(self, member: Member, message: dict[str, Any]) -> None:
        """A message of a worker."""
        if "ready" in message and member.state is State.STARTING:
            member.state = State.READY
            member.ready_since = self._system.now()
            self._prove(member.generation)
            if self._end_at is not None:
                self._order(member, {"lame_duck": True})
            self._announce()
        elif "replace" in message:
            member.replace = str(message["replace"])
            self._system.say("info", f"{member.name} is to be replaced: {member.replace}")
        elif "failed" in message:
            member.reason = str(message["failed"])
        elif "more" in message:
            self._system.watch_more(message)
        self._reconcile()

    def exited(self, pid: int, how: str, code: int | None = None) -> None:
        """A process has ended. how: in words. code: its exit status, if it was not a signal."""
        if self.health.leaving.pop(pid, None) is not None:
            self._reconcile()
        for generation in self.generations():
            if generation.pid == pid:
                generation.pid = 0
                self._template_ended(generation, pid, how, code)
        for member in [each for each in self.members if each.pid == pid]:
            if self.stopping and code != 0 and not member.dismissed:  # what it had in progress was killed
                self._code = self._code or FORCED
            self._ended(member, how)

    def lost(self, member: Member) -> None:
        """A worker has closed its channel: its end is about to be heard of, or its pid was never known."""
        member.lost = member.lost or self._system.now()

    def stop(self, name: str, *, delay: bool = False) -> None:
        """Stop gracefully, after the drain delay if that is wanted; the next time without it; then at once."""
        if self.stopping:
            self._system.say("warning", f"{name} again: stopping at once")
            self.force(f"{name} came again")
        elif delay and self.policy.drain_delay and self._end_at is None:
            seconds = self.policy.drain_delay
            self._system.say("info", f"{name}: stopping in {seconds:g} seconds (drain_delay); a signal ends the delay")
            self._end_at = self._system.now() + seconds
            self._tell_stopping(seconds)
            for member in self.members:
                self._order(member, {"lame_duck": True})
        else:
            self._system.say("info", f"{name}: stopping")
            self._end(0)

    def force(self, why: str) -> None:
        """Have the workers kill what is in progress."""
        if not self.stopping:
            self._end(0)
        for member in self.members:
            self._order(member, {"force": why})
            member.leave_by = min(member.leave_by, self._system.now() + END_SECONDS)
        self._reconcile()

    def change_workers(self, difference: int) -> None:
        """One more, or one less."""
        before = self.wanted
        self.wanted = max(1, min(self.wanted + difference, len(self._table) // 2))
        self._tell_hooks({"nworkers_changed": [self.wanted, before]})
        self._system.say("info", "1 worker is wanted" if self.wanted == 1 else f"{self.wanted} workers are wanted")
        self._reconcile()

    def tick(self) -> None:
        """Once a second: heartbeats, deadlines, what was put off."""
        self.health.look(self.policy, self.generations(), list(self.members))
        if self._end_at is not None and self._system.now() >= self._end_at and not self.stopping:
            self._system.say("info", "the drain delay is over: stopping")
            self._end(0)
        self._reconcile()

    def state(self) -> dict[str, Any]:
        """All that another supervisor needs to go on from here, between two reloads; see `resume`."""
        generation = self.generation
        assert self.before is None, "a reload is going on"
        template = None if generation.channel is None else generation.channel.fd
        return {
            "generation": [generation.number, generation.pid, template],
            "members": [
                [each.slot.index, each.generation.number, each.channel.fd, each.state, each.ready_since]
                for each in self.members
            ],
            "policy": self.policy._asdict(),
            "wanted": self.wanted,
            "again": self._again,
            "untold": self._untold,
            "leaving": list(self.health.leaving),
        }

    @classmethod
    def resume(cls, system: System, table: Table, state: dict[str, Any]) -> Self:
        """The supervisor that takes the place of the one that had this state."""
        number, pid, fd = state["generation"]
        generation = Generation(number, pid, None if fd is None else system.channel_of(fd))
        generation.loaded = generation.proven = True
        supervisor = cls(system, table, generation)
        supervisor.policy = generation.policy = Policy.of(state["policy"])
        supervisor.wanted = state["wanted"]
        supervisor._announced = True
        supervisor._untold = state["untold"]
        supervisor.health.leaving = dict.fromkeys(state["leaving"], system.now() + END_SECONDS)
        for index, of, fd, life, ready_since in state["members"]:
            its = generation if of == number else Generation(of)
            member = Member(table[index], its, system.channel_of(fd), system.now())
            member.state, member.ready_since = State(life), ready_since
            if member.state is State.DRAINING:
                member.leave_by = system.now() + supervisor.policy.graceful_timeout + END_SECONDS
            supervisor.members.append(member)
        if state["again"]:
            supervisor.reload()
        return supervisor

    def stays(self, why: str) -> None:
        """The successor cannot take over."""
        self.successor = ()
        self._system.say("error", f"the supervisor of the new code cannot start, and this one goes on: {why}")
        self._reload_again()

    def generations(self) -> list[Generation]:
        """Those that have a template, or had."""
        return [self.generation] if self.before is None else [self.generation, self.before]

    # -- what is done

    def _reconcile(self) -> None:
        """Take the steps from what is there to what should be, as far as they can be taken now."""
        if self.stopping:
            if not self.members and self.exit_code is None and self._has_said_last_words():
                self.exit_code = self._code
            return
        if self.generation.channel is None and self._system.now() >= self._not_before:
            self._load(self.generation)
        able = self.generations() if self.policy.watch is None else [self.generation]
        source = next((each for each in able if each.loaded), None)
        if source is None:
            return
        staying = [each for each in self.members if each.state is not State.DRAINING]
        for _ in range(len(staying), self.wanted):
            self._start_worker(source)
        outdated = [each for each in staying if each.generation.number < source.number or each.replace]
        if len(staying) > self.wanted:
            self._let_one_leave(staying, outdated)
        elif not outdated:
            self._conclude_reload(source)
        elif len(staying) == self.wanted:
            self._start_worker(source)  # the successor

    def _let_one_leave(self, staying: list[Member], outdated: list[Member]) -> None:
        ready = [each for each in staying if each.state is State.READY]
        if len(ready) <= self.wanted:  # the successor is not ready yet
            return
        self._drain(next((each for each in ready if each in outdated), ready[-1]))
        self._reconcile()

    def _prove(self, generation: Generation) -> None:
        """A worker of it is ready: so its settings hold."""
        if not generation.proven:
            generation.proven = True
            self._adopt(generation)

    def _adopt(self, generation: Generation) -> None:
        self.policy = generation.policy
        self.wanted = self.policy.workers

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            self._table[0][Cell.STATE] = State.READY
            for line in self.policy.announcement:
                self._system.say("info", line)
            self._tell_ready()
            self._tell_hooks({"when_ready": True})

    def _tell_ready(self, more: str = "") -> None:
        """The service manager: also after a reload that has failed, for whose end it waits."""
        where = f"{self.wanted} workers, listening on {', '.join(self.policy.urls)}"
        self._system.tell(READY=1, STATUS=f"{where}; {more}" if more else where)

    def _conclude_reload(self, source: Generation) -> None:
        """All workers run the code of `source`. If it is the newest, a reload is over."""
        if source is not self.generation or not source.proven:
            return
        if self.before is not None:
            self._retire(self.before)
            self.before = None
            self._count(Cell.RELOADED)
            self._system.say("info", f"reloaded: all workers run generation {source.number} of the application")
            self._tell_ready()
            if self._upgrades:
                self._upgrades = False
                self.successor = source.program
        if not self.successor:
            self._reload_again()

    def _count(self, outcome: Cell) -> None:
        """A reload has ended, and so `greenserve reload` may."""
        own = self._table[0]
        own[Cell.STATE] = State.READY
        own[outcome] += 1

    def _reload_again(self) -> None:
        if self._again:
            self._again = False
            self.reload()

    def _load(self, generation: Generation) -> bool:
        """Start a template."""
        try:
            generation.begin(*self._system.start_template(), self._system.now())
        except OSError as error:
            self._cannot_start("a process that loads the application", str(error))
            return False
        return True

    def _start_worker(self, source: Generation) -> None:
        channel, now = source.channel, self._system.now()
        slot = next((slot for slot in self._table if slot.index and not self._is_taken(slot)), None)
        if channel is None or slot is None or now < self._not_before:
            return
        try:
            ours, theirs = self._system.channel_pair()
        except OSError as error:
            self._cannot_start("a worker", str(error))
            return
        slot.clear()
        slot[Cell.GENERATION], slot[Cell.STATE] = source.number, State.STARTING
        self._table[0][Cell.AGE] += 1
        slot[Cell.AGE] = self._table[0][Cell.AGE]
        try:
            channel.send({"fork": slot.index, "trouble": self._trouble}, theirs.fd)
        except Gone:  # its end is about to be heard of
            ours.close()
        else:
            self.members.append(Member(slot, source, ours, now))
            self._table[0][Cell.LAST] = max(member.slot.index for member in self.members)
        finally:
            theirs.close()

    def _cannot_start(self, what: str, why: str) -> None:
        seconds = self._put_off()
        self._system.say("error", f"{what} cannot be started: {why}; the next attempt follows in {seconds:g} s")

    def _forget(self, member: Member) -> None:
        self.members.remove(member)
        member.channel.close()
        member.slot.clear()

    def is_ending(self) -> bool:
        """Whether the server stops, or is about to."""
        return self.stopping or self._end_at is not None

    def _is_taken(self, slot: Slot) -> bool:
        return any(member.slot is slot for member in self.members)

    def _end(self, code: int) -> None:
        """Stop gracefully, and have the exit status `code`."""
        self.stopping, self._code = True, code
        self._table[0][Cell.STATE] = State.DRAINING
        self._tell_stopping(0.0)
        # Before the workers stop accepting: as long as a process listens the kernel accepts for it, and resets at last.
        loaded = [each.channel for each in self.generations() if each.loaded and each.channel is not None]
        self._system.close_listeners(loaded)
        for generation in self.generations():
            if generation is not self._hooked():
                self._retire(generation)
        for member in self.members:
            self._drain(member)
        self._reconcile()

    def _tell_stopping(self, delay: float) -> None:
        seconds = delay + self.policy.graceful_timeout + 2 * END_SECONDS
        self._system.tell(STOPPING=1, STATUS="stopping", EXTEND_TIMEOUT_USEC=int(seconds * 1e6))

    def _retire(self, generation: Generation) -> None:
        """Its template is not needed any more."""
        if generation.channel is not None:
            generation.channel.close()  # at which it ends; unless it is loading
            generation.channel = None
            self.health.leaving[generation.pid] = self._system.now() + END_SECONDS
            if not generation.loaded:
                self._system.kill(generation.pid, signal.SIGTERM)

    def _hooked(self) -> Generation | None:
        """Whose template calls hooks."""
        loaded = [each for each in self.generations() if each.loaded and each.channel is not None]
        return loaded[0] if loaded and self.policy.hooks else None

    def _tell_hooks(self, *messages: dict[str, Any]) -> None:
        """Now, or as soon as there is a template."""
        self._untold += messages if self.policy.hooks else ()
        generation = self._hooked()
        while generation is not None and generation.channel is not None and self._untold:
            try:
                generation.channel.send(self._untold[0])
            except Gone:  # or held up by a hook for so long that it does not read
                return
            del self._untold[0]

    def _has_said_last_words(self) -> bool:
        """Whether no template is left, which may call hooks; it is told that the server ends."""
        hooked = self._hooked()
        if hooked is not None:
            self._tell_hooks({"on_exit": True})
            self._retire(hooked)
        return not self.health.leaving

    def _renew(self, *, with_settings: bool) -> None:
        """Let no worker of the old code accept any more; connections wait for those of the new."""
        self._trouble, self._failures, self._not_before = "", 0, 0.0
        if with_settings:
            if self.before is None:
                self.before = self.generation
            else:
                self._retire(self.generation)
            self.generation = Generation(self.generation.number + 1)
        for member in [each for each in self.members if each.state is not State.DRAINING]:
            self._dismiss(member)
        self._reconcile()

    def _dismiss(self, member: Member) -> None:
        """Its code is outdated."""
        if member.state is State.STARTING:
            self._system.kill(member.pid, signal.SIGKILL)
        member.state, member.dismissed = State.DRAINING, True
        member.leave_by = self._system.now() + OUTDATED_SECONDS + END_SECONDS
        self._order(member, {"drain": True, "within": OUTDATED_SECONDS})

    def _drain(self, member: Member) -> None:
        member.state = State.DRAINING
        member.leave_by = self._system.now() + self.policy.graceful_timeout + END_SECONDS
        self._order(member, {"drain": not self.stopping})

    def _order(self, member: Member, message: dict[str, Any]) -> None:
        try:
            member.channel.send(message)
        except Gone:
            self.lost(member)

    # -- ends

    def _ended(self, member: Member, how: str) -> None:
        expected = member.state is State.DRAINING
        name = member.name  # while its slot still has the pid
        if member.pid and self.policy.hooks:
            self._untold.append({"child_exit": [member.pid, member.slot.index, member.slot[Cell.AGE]]})
        self._forget(member)
        why = f": {member.reason}" if member.reason else ""
        level = "error" if not expected else "info" if self.policy.watch is None else "debug"
        self._system.say(level, f"{name} {how}{why}")
        if not expected and not self.stopping:
            self._judge_end(member, how)
        self._reconcile()
        self._tell_hooks()  # after it: a slow hook does not hold the successor up

    def _judge_end(self, member: Member, how: str) -> None:
        """Whether the next one may begin at once, and whether its code can be served at all."""
        generation = member.generation
        if self.policy.watch is not None and member.state is State.STARTING and not self._trouble:
            self._trouble = member.reason or f"the process that loads the application {how}"
        elif member.state is State.READY and self._system.now() - member.ready_since >= STEADY_SECONDS:
            self._failures = 0
        elif generation is self.generation and not generation.proven:
            self._give_up(generation, member.reason or f"its first worker {how}", NOT_LOADED)
        else:
            self._put_off()

    def _template_ended(self, generation: Generation, pid: int, how: str, code: int | None) -> None:
        if generation.channel is None:
            return
        generation.channel.close()
        generation.channel = None
        was_loaded, generation.loaded = generation.loaded, False
        why = f": {generation.reason}" if generation.reason else ""
        if self.stopping:
            self._reconcile()
        elif generation is not self.generation:
            self._system.say("error", f"template (pid {pid}) of the code of before {how}{why}")
        elif not was_loaded and not generation.proven:
            self._give_up(generation, generation.reason or f"the process that loads the application {how}", code)
        else:
            seconds = self._put_off()
            self._system.say(
                "error",
                f"template (pid {pid}) {how}{why}; another one loads the application in {seconds:g} s, and the workers "
                "go on",
            )
            self._reconcile()

    def _give_up(self, generation: Generation, reason: str, code: int | None) -> None:
        """The newest code cannot be served."""
        if self.before is None:
            self._system.say("error", f"the server ends: {reason}")
            self._end(code or NOT_LOADED)
            return
        if self.policy.watch is None:
            self._system.say("error", f"the new code cannot be served: {reason}; the workers of before go on")
        self._retire(generation)
        self.generation, self.before = self.before, None
        self._count(Cell.NOT_RELOADED)
        self._failures = 0
        self._upgrades = False
        self._trouble = reason if self.policy.watch is not None else ""
        self._tell_ready(f"the last reload has failed: {reason}")
        for member in [each for each in self.members if each.generation is generation]:
            self._drain(member)
        self._reconcile()
        self._reload_again()

    def _put_off(self) -> float:
        """A process has died at its start: the next one waits, the longer the more have. Returns the seconds."""
        self._failures += 1
        seconds: float = min(FIRST_PAUSE * 2 ** min(self._failures - 1, 10), LONGEST_PAUSE)
        self._not_before = self._system.now() + seconds
        return seconds
