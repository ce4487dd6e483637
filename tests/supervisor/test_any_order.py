"""Crashes, reloads, signals and time in any order: what must hold after each of them, and how it ends.

Law. The model plays the processes: it forks, loads, becomes ready and ends when the rules say so, and dies of SIGKILL.
Rules that take workers away (a crash, a block, TTOU, the end) are marked: no other one may lower the service.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenserve.supervisor.members import Generation, Member
from greenserve.supervisor.table import Cell
from tests.supervisor.machine import FakeMachine

KILLED = "was killed by SIGKILL"
SOON = 400  # seconds, in which all is well again: above load_timeout, and some of the longest pauses


class Processes(FakeMachine):
    """Forks late, or never (`stopped`: templates that do nothing), and dies as it is told."""

    def __init__(self) -> None:
        super().__init__(slots=60)
        self.stopped: set[int] = set()
        self.stuck: set[int] = set()  # workers whose hub does not turn
        self.no_descriptors = False

    def channel_pair(self) -> Any:
        if self.no_descriptors:
            raise OSError(24, "Too many open files")
        return super().channel_pair()

    def fork(self) -> None:
        """Only when a rule says so."""

    def unforked(self) -> list[Member]:
        return [each for each in self.starting if not each.pid and self._works(each.generation)]

    def loading(self) -> list[Generation]:
        return [each for each in self.supervisor.generations() if not each.loaded and self._works(each)]

    def _works(self, generation: Generation) -> bool:
        return generation.channel is not None and generation.pid in self.templates.keys() - self.stopped

    def begin(self, member: Member) -> None:
        member.slot[Cell.PID] = next(self.pids)
        self.beat(member)

    def template_dies(self, pid: int, how: str = KILLED, code: int | None = None) -> None:
        """And with it the orders that it has not read."""
        if self.templates.pop(pid, None) is not None:
            for member in self.starting + self.draining:
                if not member.pid and member.generation.pid == pid:
                    self.supervisor.lost(member)
            self.supervisor.exited(pid, how, code)

    def worker_dies(self, pid: int) -> None:
        self.supervisor.exited(pid, KILLED)

    def obey(self) -> None:
        """Whatever was signalled, or has lost the way to the supervisor, ends."""
        killed, self.killed = [each for each in self.killed if each[0]], []
        for pid, number in killed:
            deaf = pid in self.stopped | self.stuck and number != signal.SIGKILL
            if pid in self.templates and not deaf:
                self.template_dies(pid)
            elif number in (signal.SIGKILL, signal.SIGABRT) and not deaf:
                self.worker_dies(pid)
        for pid in [pid for pid, end in self.templates.items() if end.closed and pid not in self.stopped]:
            self.template_dies(pid, "has ended", 0)

    def second(self) -> None:
        self.time += 1
        self.beat(*(each for each in self.supervisor.members if each.pid not in self.stuck))
        self.supervisor.tick()
        self.obey()


class AnyOrder(RuleBasedStateMachine):
    """The invariants are methods of that name."""

    @initialize(workers=st.integers(1, 4))
    def begin(self, workers: int) -> None:
        self.machine = machine = Processes()
        self.workers = workers
        machine.supervisor.heard_template(
            machine.supervisor.generation, {"loaded": {"workers": workers, "graceful_timeout": 5.0}, "program": []}
        )
        for member in machine.starting:
            machine.begin(member)
        machine.ready()
        self._remember()

    def _remember(self) -> None:
        self.ready, self.staying = len(self.machine.serving), self._staying()

    def _staying(self) -> int:
        return len(self.machine.serving) + len(self.machine.starting)

    def _takes_away(self, what: Callable[[], object]) -> None:
        what()
        self.machine.obey()
        self.ready = 0  # so many must be left

    def _some(self, members: list[Any], data: st.DataObject) -> Any:
        return data.draw(st.sampled_from(members)) if members else None

    # -- what the processes do

    @rule(works=st.booleans(), workers=st.integers(1, 4))
    def a_template_has_loaded_or_not(self, works: bool, workers: int) -> None:
        for generation in self.machine.loading()[:1]:
            if works:
                policy = {"workers": workers, "graceful_timeout": 5.0}
                self.machine.supervisor.heard_template(generation, {"loaded": policy, "program": []})
            else:
                self.machine.supervisor.heard_template(generation, {"failed": "broken"})
                self.machine.template_dies(generation.pid, "ended with exit status 3", 3)

    @rule(data=st.data())
    def a_worker_is_forked_and_maybe_ready(self, data: st.DataObject) -> None:
        member = self._some(self.machine.unforked(), data)
        if member is not None:
            self.machine.begin(member)
        if data.draw(st.booleans()):
            for member in [each for each in self.machine.starting if each.pid][:1]:
                self.machine.ready(member)

    @rule(data=st.data())
    def a_worker_cannot_be_forked(self, data: st.DataObject) -> None:
        member = self._some(self.machine.unforked(), data)
        if member is not None:
            message = {"unforked": member.slot.index, "why": "no more processes"}
            self.machine.supervisor.heard_template(member.generation, message)

    @rule(data=st.data())
    def a_worker_is_ready(self, data: st.DataObject) -> None:
        member = self._some([each for each in self.machine.starting if each.pid], data)
        if member is not None:
            self.machine.ready(member)

    @rule(data=st.data())
    def a_worker_wants_to_be_replaced(self, data: st.DataObject) -> None:
        member = self._some(self.machine.serving, data)
        if member is not None:
            self.machine.supervisor.heard_worker(member, {"replace": "it has served 1000 requests (max_requests)"})

    @rule(data=st.data())
    def a_draining_worker_ends(self, data: st.DataObject) -> None:
        member = self._some([each for each in self.machine.draining if each.pid], data)
        if member is not None:
            self.machine.supervisor.exited(member.pid, "has ended", 0)

    @rule(data=st.data())
    def a_template_dies(self, data: st.DataObject) -> None:
        pid = self._some(sorted(self.machine.templates), data)
        if pid is not None:
            self.machine.template_dies(pid)

    @rule(data=st.data())
    def a_template_is_stopped(self, data: st.DataObject) -> None:
        pid = self._some(sorted(self.machine.templates), data)
        if pid is not None:
            self.machine.stopped.add(pid)

    @rule()
    def templates_go_on(self) -> None:
        self.machine.stopped.clear()

    @rule(processes=st.booleans(), descriptors=st.booleans())
    def there_is_room_or_not(self, processes: bool, descriptors: bool) -> None:
        self.machine.refuses, self.machine.no_descriptors = processes, descriptors

    # -- what takes workers away

    @rule(data=st.data())
    def a_worker_crashes(self, data: st.DataObject) -> None:
        member = self._some([each for each in self.machine.supervisor.members if each.pid], data)
        if member is not None:
            self._takes_away(lambda: self.machine.worker_dies(member.pid))

    @rule(data=st.data())
    def a_worker_blocks(self, data: st.DataObject) -> None:
        member = self._some([each for each in self.machine.supervisor.members if each.pid], data)
        if member is not None:
            self.machine.stuck.add(member.pid)

    @rule(data=st.data())
    def a_worker_closes_its_channel(self, data: st.DataObject) -> None:
        member = self._some([each for each in self.machine.supervisor.members if each.pid], data)
        if member is not None:
            self.machine.supervisor.lost(member)

    @rule(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        def pass_on() -> None:
            for _ in range(seconds):
                self.machine.second()

        if self.machine.stuck or any(each.lost is not None for each in self.machine.supervisor.members):
            self._takes_away(pass_on)
        else:
            pass_on()

    @rule()
    def one_less(self) -> None:
        self.ready -= 1
        self.machine.supervisor.change_workers(-1)

    # -- what people do

    @rule()
    def one_more(self) -> None:
        if self.machine.supervisor.wanted < 6:
            self.machine.supervisor.change_workers(1)

    @rule()
    def reload(self) -> None:
        self.machine.supervisor.reload()

    @precondition(lambda self: hasattr(self, "machine"))
    @invariant()
    def nothing_lowers_the_service_but_what_takes_workers_away(self) -> None:
        wanted = self.machine.supervisor.wanted
        assert len(self.machine.serving) >= min(self.ready, wanted)
        assert self._staying() <= max(self.staying, wanted + 1), "one successor at a time"
        assert len({each.slot.index for each in self.machine.supervisor.members}) == len(
            self.machine.supervisor.members
        )
        assert self.machine.supervisor.exit_code is None
        self._remember()

    # -- how it ends

    def teardown(self) -> None:
        """All goes well from here on: then there is full service of one code, and the end ends all."""
        if not hasattr(self, "machine"):
            return
        self.machine.refuses = self.machine.no_descriptors = False
        self._go_well(SOON)
        supervisor = self.machine.supervisor
        assert len(self.machine.serving) == len(supervisor.members) == supervisor.wanted
        assert supervisor.before is None
        assert not supervisor._again, "a reload that was asked for is forgotten"
        assert {each.generation for each in self.machine.serving} == {supervisor.generation}
        assert not any(each.replace for each in self.machine.serving)
        assert supervisor.generation.pid in self.machine.templates
        assert len(self.machine.templates) == 1, "templates that nothing needs have ended"
        self._stop()

    def _go_well(self, seconds: int) -> None:
        machine = self.machine
        for _ in range(seconds):
            machine.second()
            for generation in machine.loading():
                machine.supervisor.heard_template(
                    generation, {"loaded": {"workers": 3, "graceful_timeout": 5.0}, "program": []}
                )
            for member in machine.unforked():
                machine.begin(member)
            for member in [each for each in machine.starting if each.pid and each.pid not in machine.stuck]:
                machine.ready(member)
            for member in [each for each in machine.draining if each.pid and each.pid not in machine.stuck]:
                machine.supervisor.exited(member.pid, "has ended", 0)

    def _stop(self) -> None:
        """In the worst way: nothing obeys but SIGKILL."""
        machine = self.machine
        machine.supervisor.reload()
        machine.stuck.update(each.pid for each in machine.supervisor.members)
        machine.stopped.update(machine.templates)
        machine.supervisor.stop("SIGTERM")
        for _ in range(60):
            machine.second()
        assert machine.supervisor.exit_code is not None
        assert not machine.supervisor.members
        assert not machine.templates


class StopsAnywhere(AnyOrder):
    """The end comes in the middle."""

    def teardown(self) -> None:
        if hasattr(self, "machine"):
            self._stop()


AnyOrder.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
StopsAnywhere.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestAnyOrder = AnyOrder.TestCase
TestStopsAnywhere = StopsAnywhere.TestCase
