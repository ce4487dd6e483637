"""What the supervisor does when something happens; no process is started."""

from __future__ import annotations

import signal

import pytest

from greenserve.supervisor.members import Member
from greenserve.supervisor.supervisor import Supervisor
from greenserve.supervisor.table import Cell
from tests.supervisor.machine import End, FakeMachine


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def serving(machine: FakeMachine) -> FakeMachine:
    machine.load(3)
    machine.ready()
    machine.pass_time(20)
    return machine


def orders(member: Member) -> list[dict[str, object]]:
    return member.channel.sent  # type: ignore[attr-defined]  # an End


def test_workers_start_when_the_application_is_loaded(machine: FakeMachine) -> None:
    assert not machine.supervisor.members
    machine.load(3)
    assert len(machine.starting) == 3
    assert [member.slot.index for member in machine.starting] == [1, 2, 3]
    machine.ready()
    assert len(machine.serving) == 3
    assert not machine.said("error")


def test_a_worker_that_dies_is_replaced_at_once(serving: FakeMachine) -> None:
    first, *others = serving.serving
    serving.end(first, how="was killed by SIGSEGV", code=None)
    assert "was killed by SIGSEGV" in serving.said("error")
    assert len(serving.starting) == 1
    serving.ready()
    assert len(serving.serving) == 3
    assert set(others) < set(serving.serving)


def test_workers_that_die_at_once_again_and_again_are_started_ever_more_slowly(serving: FakeMachine) -> None:
    deaths = 1
    serving.end(serving.serving[-1], how="was killed by SIGSEGV", code=None)
    for _ in range(300):
        if serving.starting:
            serving.ready()
            serving.end(serving.serving[-1], how="was killed by SIGSEGV", code=None)
            deaths += 1
        serving.pass_time(1)
    assert 8 <= deaths <= 20
    assert len(serving.serving) == 2


def test_the_first_generation_that_cannot_start_ends_the_server(machine: FakeMachine) -> None:
    machine.load(2)
    first, other = machine.starting
    machine.supervisor.heard_worker(first, {"failed": "no such database"})
    machine.end(first, how="ended with exit status 3", code=3)
    assert machine.supervisor.exit_code is None
    machine.end(other)
    assert machine.supervisor.exit_code == 3
    assert "the server ends: no such database" in machine.said("error")


def test_the_first_template_that_fails_ends_the_server_with_its_own_exit_code(machine: FakeMachine) -> None:
    generation = machine.supervisor.generation
    machine.supervisor.heard_template(generation, {"failed": "no module named nothing"})
    machine.supervisor.exited(generation.pid, "ended with exit status 4", 4)
    assert machine.supervisor.exit_code == 4
    assert "no module named nothing" in machine.said("error")


def test_a_reload_replaces_one_after_the_other_and_never_has_fewer(serving: FakeMachine) -> None:
    old = serving.serving
    serving.supervisor.reload()
    assert serving.serving == old, "nothing happens before the new code is loaded"
    serving.load(3)
    seen = 0
    while serving.starting:
        assert len(serving.serving) == 3
        assert len(serving.starting) == 1
        serving.ready()
        seen += 1
        assert orders(serving.draining[-1])[-1] == {"drain": True}
    assert seen == 3
    assert not set(old) & set(serving.serving)
    assert set(old) == set(serving.draining)
    serving.end()
    assert len(serving.supervisor.members) == 3
    assert "generation 2" in serving.said("info")
    assert serving.supervisor.before is None


def test_new_code_that_cannot_be_loaded_changes_nothing(serving: FakeMachine) -> None:
    old = serving.serving
    serving.supervisor.reload()
    generation = serving.supervisor.generation
    serving.supervisor.heard_template(generation, {"failed": "SyntaxError in app.py, line 3"})
    serving.supervisor.exited(generation.pid, "ended with exit status 3", 3)
    assert serving.serving == old
    assert "SyntaxError in app.py, line 3; the workers of before go on" in serving.said("error")
    serving.end(old[0], how="was killed by SIGKILL", code=None)
    assert serving.starting[0].generation.number == 1, "a successor runs the code of before"


def test_new_code_whose_first_worker_dies_changes_nothing(serving: FakeMachine) -> None:
    old = serving.serving
    serving.supervisor.reload()
    serving.load(3)
    serving.end(*serving.starting, how="ended with exit status 1", code=1)
    assert serving.serving == old
    assert not serving.starting
    assert "its first worker ended with exit status 1; the workers of before go on" in serving.said("error")
    serving.supervisor.reload()
    serving.load(3)
    for _ in range(3):
        serving.ready()
    assert {member.generation.number for member in serving.serving} == {2}


def test_a_reload_during_a_reload_follows_it(serving: FakeMachine) -> None:
    serving.supervisor.reload()
    serving.supervisor.reload()
    serving.load(3)
    for _ in range(3):
        serving.ready()
    serving.load(3)
    for _ in range(3):
        serving.ready()
    assert {member.generation.number for member in serving.serving} == {3}
    assert serving.supervisor.before is None


def test_a_reload_brings_the_new_number_of_workers(serving: FakeMachine) -> None:
    for workers in (5, 2):
        serving.supervisor.reload()
        serving.load(workers)
        while serving.starting:
            serving.ready()
            serving.end()
        assert len(serving.serving) == workers
        assert {member.generation for member in serving.serving} == {serving.supervisor.generation}


def test_a_worker_that_wants_to_be_replaced_waits_for_its_successor_and_only_one_at_a_time(
    serving: FakeMachine,
) -> None:
    for member in serving.serving:
        serving.supervisor.heard_worker(member, {"replace": "it has served 1000 requests (max_requests)"})
    serving.fork()
    replaced = 0
    while serving.starting:
        assert len(serving.starting) == 1
        assert len(serving.serving) == 3
        serving.ready()
        serving.end()
        replaced += 1
    assert replaced == 3


def test_more_workers_and_fewer(serving: FakeMachine) -> None:
    serving.supervisor.change_workers(1)
    serving.fork()
    serving.ready()
    assert len(serving.serving) == 4
    for _ in range(6):
        serving.supervisor.change_workers(-1)
        serving.end()
    assert len(serving.serving) == 1


def test_a_worker_whose_hub_does_not_turn_shows_it_and_is_aborted_and_killed(serving: FakeMachine) -> None:
    stuck = serving.serving[1]
    serving.pass_time(29, stuck)
    assert not serving.killed
    serving.pass_time(1, stuck)
    assert serving.killed == [(stuck.pid, signal.SIGUSR2)]
    assert "worker_timeout" in serving.said("error")
    serving.pass_time(2, stuck)
    assert serving.killed[1:] == [(stuck.pid, signal.SIGABRT)]
    serving.pass_time(2, stuck)
    assert serving.killed[2:] == [(stuck.pid, signal.SIGKILL)]
    serving.end(stuck, how="was killed by SIGKILL", code=None)
    serving.ready()
    assert len(serving.serving) == 3


def test_a_worker_that_goes_on_in_time_lives(serving: FakeMachine) -> None:
    stuck = serving.serving[1]
    serving.pass_time(30, stuck)
    serving.pass_time(60)
    assert serving.killed == [(stuck.pid, signal.SIGUSR2)]


def test_no_worker_timeout(machine: FakeMachine) -> None:
    machine.load(1, worker_timeout=0)
    machine.ready()
    machine.pass_time(1000, *machine.serving)
    assert not machine.killed


def test_stopping_waits_for_all_workers_and_kills_what_does_not_end(serving: FakeMachine) -> None:
    serving.supervisor.stop("SIGTERM")
    assert [orders(member) for member in serving.draining] == [[{"drain": False}]] * 3
    serving.end(serving.draining[0])
    serving.pass_time(32)
    assert not serving.killed
    serving.pass_time(2)
    assert len(serving.killed) == 2
    assert serving.supervisor.exit_code is None
    serving.end(how="was killed by SIGKILL", code=None)
    assert serving.supervisor.exit_code is not None


def test_a_second_signal_stops_at_once(serving: FakeMachine) -> None:
    serving.supervisor.stop("SIGINT")
    serving.supervisor.stop("SIGINT")
    assert all("force" in orders(member)[-1] for member in serving.draining)
    workers, template = serving.draining, serving.supervisor.generation
    serving.pass_time(5)
    assert sorted(serving.killed) == sorted((each.pid, signal.SIGKILL) for each in (*workers, template))
    serving.end(how="was killed by SIGKILL", code=None)
    assert serving.supervisor.exit_code == 1


def test_sigquit_alone_ends_all_and_the_template(serving: FakeMachine) -> None:
    serving.supervisor.force("SIGQUIT came")
    assert all(orders(member)[-1] == {"force": "SIGQUIT came"} for member in serving.draining)
    serving.end(code=0)
    assert not serving.templates
    assert serving.supervisor.exit_code == 0


def test_the_drain_delay_comes_before_the_end_and_a_signal_ends_it(machine: FakeMachine) -> None:
    machine.load(2, drain_delay=5.0)
    machine.ready()
    machine.supervisor.stop("SIGTERM", delay=True)
    assert [orders(member) for member in machine.serving] == [[{"lame_duck": True}]] * 2
    machine.end(machine.serving[0], how="was killed by SIGKILL", code=None)
    machine.pass_time(2)
    machine.ready()
    assert orders(machine.serving[-1]) == [{"lame_duck": True}], "the successor knows it, too"
    machine.pass_time(3)
    assert [orders(member)[-1] for member in machine.draining] == [{"drain": False}] * 2
    machine.end()
    assert machine.supervisor.exit_code == 0


def test_a_signal_ends_the_drain_delay(machine: FakeMachine) -> None:
    machine.load(2, drain_delay=5.0)
    machine.ready()
    machine.supervisor.stop("SIGTERM", delay=True)
    machine.supervisor.stop("SIGTERM", delay=True)
    assert len(machine.draining) == 2


def test_stopping_while_the_application_is_loaded(machine: FakeMachine) -> None:
    pid = machine.supervisor.generation.pid
    machine.supervisor.stop("SIGTERM")
    assert machine.killed == [(pid, signal.SIGTERM)]
    assert machine.supervisor.exit_code is None
    machine.pass_time(5)
    assert machine.killed[1:] == [(pid, signal.SIGKILL)], "it does not hear"
    machine.end()
    assert machine.supervisor.exit_code == 0


def test_a_template_that_dies_is_replaced_and_the_workers_go_on(serving: FakeMachine) -> None:
    workers = serving.serving
    template = serving.supervisor.generation.pid
    serving.supervisor.exited(template, "was killed by SIGKILL")
    serving.pass_time(2)
    assert serving.supervisor.generation.pid != template
    serving.load(3)
    assert serving.serving == workers
    serving.end(workers[0], how="was killed by SIGKILL", code=None)
    serving.pass_time(1)
    assert len(serving.starting) == 1


def test_a_template_that_cannot_be_started_is_tried_again(serving: FakeMachine) -> None:
    serving.refuses = True
    serving.supervisor.exited(serving.supervisor.generation.pid, "was killed by SIGKILL")
    serving.pass_time(100)
    assert 3 < serving.said("error").count("a process that loads the application cannot be started: no more") < 12
    serving.refuses = False
    serving.pass_time(40)
    assert serving.supervisor.generation.channel is not None


def test_the_service_manager_hears_the_end_of_each_reload_also_of_one_that_cannot_begin(serving: FakeMachine) -> None:
    serving.told.clear()
    serving.refuses = True
    serving.supervisor.reload()
    reloading, ready = serving.told
    assert reloading["MONOTONIC_USEC"] == int(serving.time * 1e6)
    assert ready["READY"] == 1
    assert "no process could be started" in str(ready["STATUS"])


def test_a_reload_that_was_asked_for_meanwhile_follows_one_that_fails(serving: FakeMachine) -> None:
    serving.told.clear()
    for _ in range(2):
        serving.supervisor.reload()
    for _ in range(2):
        serving.supervisor.exited(serving.supervisor.generation.pid, "ended with exit status 3", 3)
    assert ["RELOADING" in told for told in serving.told] == [True, False, True, False]
    assert serving.supervisor.generation.number == 1


def test_a_worker_that_was_never_heard_of_is_given_up(serving: FakeMachine) -> None:
    lost = serving.serving[0]
    serving.supervisor.lost(lost)
    serving.pass_time(5)
    assert serving.killed == [(lost.pid, signal.SIGKILL)], "it may be alive, and only deaf"
    serving.pass_time(5)
    serving.ready()
    assert lost not in serving.supervisor.members
    assert len(serving.serving) == 3


def test_a_worker_that_dies_while_new_code_loads_is_replaced_by_one_of_the_old_code(serving: FakeMachine) -> None:
    serving.supervisor.reload()
    serving.end(serving.serving[0], how="was killed by SIGKILL", code=None)
    assert [member.generation.number for member in serving.starting] == [1]
    serving.ready()
    assert len(serving.serving) == 3
    serving.load(3)
    while serving.starting:
        serving.ready()
        serving.end()
    assert {member.generation.number for member in serving.serving} == {2}


def test_workers_of_new_code_stay_when_its_template_dies_during_the_reload(serving: FakeMachine) -> None:
    serving.supervisor.reload()
    serving.load(3)
    serving.ready()
    new = [member for member in serving.serving if member.generation.number == 2]
    serving.end(*serving.starting, how="was killed by SIGKILL", code=None)
    serving.supervisor.exited(serving.supervisor.generation.pid, "was killed by SIGKILL")
    serving.pass_time(20)
    assert set(new) <= set(serving.serving)
    assert not [member for member in serving.starting if member.generation.number == 1]
    serving.load(3)
    while serving.starting:
        serving.ready()
    assert {member.generation.number for member in serving.serving} == {2}


def test_new_code_that_is_never_loaded_is_given_up_and_shows_where_it_hangs(serving: FakeMachine) -> None:
    old = serving.serving
    serving.supervisor.reload()
    pid = serving.supervisor.generation.pid
    serving.pass_time(300)
    assert not serving.killed
    serving.pass_time(1)
    assert serving.killed == [(pid, signal.SIGUSR2)]
    serving.pass_time(2)
    assert serving.killed[1:] == [(pid, signal.SIGABRT)]
    serving.pass_time(4)
    assert serving.killed[2:] == [(pid, signal.SIGKILL)]
    serving.supervisor.exited(pid, "was killed by SIGKILL")
    assert serving.serving == old
    assert "cannot be served: it was not loaded within 300 s (load_timeout); the workers of before" in serving.said(
        "error"
    )


def test_an_application_may_load_for_as_long_as_it_likes(serving: FakeMachine) -> None:
    serving.supervisor.policy = serving.supervisor.policy._replace(load_timeout=0.0)
    serving.supervisor.reload()
    serving.pass_time(10_000)
    assert not serving.killed


def test_a_successor_that_is_never_ready_is_ended_and_the_old_workers_go_on(serving: FakeMachine) -> None:
    old = serving.serving
    serving.supervisor.reload()
    serving.load(3)
    (successor,) = serving.starting
    serving.pass_time(301)
    assert serving.killed == [(successor.pid, signal.SIGABRT)]
    serving.end(successor, how="was killed by SIGABRT", code=None)
    assert serving.serving == old
    assert "it was not ready within 300 s (load_timeout); the workers of before go on" in serving.said("error")


def test_a_template_that_does_not_fork_is_killed_and_replaced(serving: FakeMachine) -> None:
    template = serving.supervisor.generation.pid
    serving.supervisor.exited(serving.serving[0].pid, "was killed by SIGKILL")  # and nothing forks
    for _ in range(12):
        serving.time += 1
        serving.beat()
        serving.supervisor.tick()
    assert (template, signal.SIGKILL) in serving.killed
    assert f"template (pid {template}) has not forked worker 1 (pid ?) within 5 s, and is killed" in serving.said(
        "error"
    )
    serving.supervisor.exited(template, "was killed by SIGKILL")
    serving.pass_time(2)
    serving.load(3)
    serving.ready()
    assert len(serving.serving) == 3


def test_a_worker_that_cannot_be_forked_is_tried_again_later(serving: FakeMachine) -> None:
    supervisor = serving.supervisor
    supervisor.exited(serving.serving[0].pid, "was killed by SIGKILL")
    for pause in ("0.5", "1", "2"):
        (missing,) = serving.starting
        supervisor.heard_template(supervisor.generation, {"unforked": missing.slot.index, "why": "no more processes"})
        assert (
            f"worker 1 (pid ?) cannot be started: no more processes; the next attempt follows in {pause} s"
            in serving.said("error")
        )
        assert not serving.starting
        serving.time += float(pause)
        supervisor.tick()
    serving.fork()
    serving.ready()
    assert len(serving.serving) == 3


def test_a_supervisor_without_descriptors_tries_again(serving: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(serving, "channel_pair", refused)
        serving.end(serving.serving[0], how="was killed by SIGKILL", code=None)
        serving.pass_time(5)
    assert "a worker cannot be started: [Errno 24] Too many open files" in serving.said("error")
    serving.pass_time(10)
    serving.ready()
    assert len(serving.serving) == 3


def test_a_reload_that_was_asked_for_while_another_one_failed_follows_it(serving: FakeMachine) -> None:
    serving.supervisor.reload()
    broken = serving.supervisor.generation
    serving.supervisor.reload()
    serving.supervisor.exited(broken.pid, "ended with exit status 3", 3)
    assert serving.supervisor.generation is not broken
    serving.load(3)
    while serving.starting:
        serving.ready()
    assert serving.supervisor.before is None


def test_a_reload_that_was_asked_for_at_the_start_follows_it(machine: FakeMachine) -> None:
    machine.supervisor.reload()
    machine.load(2)
    machine.ready()
    machine.load(2)
    while machine.starting:
        machine.ready()
    assert {member.generation.number for member in machine.serving} == {2}


def test_settings_of_new_code_hold_only_when_it_is_proven(serving: FakeMachine) -> None:
    for workers in (1, 9):
        serving.supervisor.reload()
        serving.load(workers, graceful_timeout=1.0)
        assert len(serving.serving) == 3
        serving.end(*serving.starting, how="ended with exit status 1", code=1)
        assert serving.supervisor.wanted == 3
        assert serving.supervisor.policy.graceful_timeout == 30


def test_a_new_template_of_the_same_code_does_not_undo_ttin(serving: FakeMachine) -> None:
    serving.supervisor.change_workers(1)
    serving.ready()
    serving.supervisor.exited(serving.supervisor.generation.pid, "was killed by SIGKILL")
    serving.pass_time(2)
    serving.load(3)
    assert len(serving.serving) == 4
    assert not serving.draining


def test_a_template_of_a_newer_greenserve_may_say_more(serving: FakeMachine) -> None:
    serving.supervisor.reload()
    serving.load(3, unheard_of=1.0)
    serving.ready()
    assert serving.supervisor.policy.workers == 3


def test_workers_are_not_blamed_for_the_time_in_which_the_supervisor_was_stopped(serving: FakeMachine) -> None:
    serving.time += 100  # all processes were
    serving.supervisor.tick()
    assert not serving.killed
    serving.pass_time(5)
    assert not serving.killed


def test_a_template_that_has_closed_its_channel_is_killed(serving: FakeMachine) -> None:
    generation = serving.supervisor.generation
    serving.supervisor.template_lost(generation)
    serving.pass_time(4)
    assert serving.killed == [(generation.pid, signal.SIGKILL)]


def test_an_upgrade_is_a_reload_after_which_the_new_supervisor_may_take_over(serving: FakeMachine) -> None:
    serving.supervisor.upgrade()
    assert not serving.supervisor.successor
    reload_all(serving)
    assert serving.supervisor.successor == ["new"]


def test_an_upgrade_whose_code_fails_changes_nothing(serving: FakeMachine) -> None:
    serving.supervisor.upgrade()
    new = serving.supervisor.generation
    serving.supervisor.exited(new.pid, "ended with exit status 3", 3)
    assert "the workers of before go on" in serving.said("error")
    serving.supervisor.reload()
    reload_all(serving)
    assert not serving.supervisor.successor


def test_the_successor_goes_on_with_what_was_there(serving: FakeMachine) -> None:
    serving.supervisor.change_workers(1)
    serving.ready()
    serving.supervisor.upgrade()
    reload_all(serving)
    assert len(serving.draining) == 4
    before = serving.supervisor
    serving.supervisor = Supervisor.resume(serving, serving.table, before.state())
    assert len(serving.serving) == len(serving.draining) == 4
    assert [each.pid for each in serving.supervisor.members] == [each.pid for each in before.members]
    serving.end()  # those that drain
    serving.end(serving.serving[0], how="was killed by SIGSEGV", code=None)
    serving.pass_time(1)
    serving.ready()
    assert len(serving.serving) == 4
    serving.supervisor.reload()
    reload_all(serving)
    assert serving.supervisor.generation.number == 3


def test_the_successor_loads_the_application_where_the_template_has_ended(serving: FakeMachine) -> None:
    generation = serving.supervisor.generation
    serving.refuses = True
    serving.supervisor.exited(generation.pid, "was killed by SIGKILL", None)
    state = serving.supervisor.state()
    serving.refuses = False
    serving.supervisor = Supervisor.resume(serving, serving.table, state)
    serving.pass_time(1)
    assert isinstance(serving.supervisor.generation.channel, End)


def test_a_reload_that_was_asked_for_meanwhile_follows_an_upgrade(serving: FakeMachine) -> None:
    serving.supervisor.reload()
    serving.supervisor.upgrade()
    reload_all(serving)
    assert serving.supervisor.successor
    serving.end()
    serving.supervisor.reload()
    serving.pass_time(1)
    assert serving.supervisor.before is None, "it waits for the successor"
    again = Supervisor.resume(serving, serving.table, serving.supervisor.state())
    assert again.generation.number == 3
    serving.supervisor.stays("it is broken")
    assert serving.supervisor.generation.number == 3
    assert "it is broken" in serving.said("error")


def reload_all(machine: FakeMachine) -> None:
    """The template has loaded, and each worker is replaced."""
    machine.load(len(machine.serving))
    while machine.supervisor.before is not None:
        machine.ready()


# -- hooks


def told(machine: FakeMachine) -> list[dict[str, object]]:
    """What the newest template has heard of, beside the workers that it forks."""
    channel = machine.supervisor.generation.channel
    return [] if channel is None else [each for each in channel.sent if "fork" not in each]  # type: ignore[attr-defined]


@pytest.fixture
def hooked(machine: FakeMachine) -> FakeMachine:
    machine.load(2, hooks=True)
    machine.ready()
    machine.pass_time(20)
    return machine


def test_a_template_without_hooks_hears_of_nothing(serving: FakeMachine) -> None:
    serving.end(serving.serving[0], code=-9)
    assert told(serving) == []


def test_hooks_hear_once_that_the_server_is_ready_and_which_workers_have_ended(hooked: FakeMachine) -> None:
    member = hooked.serving[0]
    pid = member.pid
    hooked.end(member, how="was killed by SIGKILL", code=None)
    hooked.ready()
    hooked.supervisor.change_workers(1)
    assert told(hooked) == [
        {"when_ready": True},
        {"child_exit": [pid, 1, 1]},
        {"nworkers_changed": [3, 2]},
    ]
    sent = [name for each in hooked.supervisor.generation.channel.sent for name in each]  # type: ignore[union-attr]
    assert sent[: sent.index("child_exit")].count("fork") == 3, "the successor is not held up"
    assert sorted(each.slot[Cell.AGE] for each in hooked.supervisor.members) == [2, 3, 4]


def test_a_workers_end_is_told_to_the_next_template_where_there_is_none(hooked: FakeMachine) -> None:
    generation = hooked.supervisor.generation
    hooked.supervisor.exited(generation.pid, "was killed by SIGKILL")
    member = hooked.serving[0]
    pid = member.pid
    hooked.end(member)
    hooked.supervisor = Supervisor.resume(hooked, hooked.table, hooked.supervisor.state())
    hooked.pass_time(1)
    assert told(hooked) == []
    hooked.load(2, hooks=True)
    assert told(hooked) == [{"child_exit": [pid, 1, 1]}]


def test_the_template_of_new_code_hears_of_the_ends_of_old_workers(hooked: FakeMachine) -> None:
    hooked.supervisor.reload()
    hooked.load(2, hooks=True)
    hooked.ready()
    old = hooked.draining[0].pid
    hooked.end()
    assert told(hooked) == [{"child_exit": [old, 1, 1]}]


def test_a_template_with_hooks_ends_after_all_workers_and_is_waited_for(hooked: FakeMachine) -> None:
    generation = hooked.supervisor.generation
    channel = generation.channel
    hooked.supervisor.stop("SIGTERM")
    for member in hooked.draining:
        hooked.supervisor.exited(member.pid, "has ended", 0)
    last = [name for each in channel.sent[-3:] for name in each]  # type: ignore[union-attr]
    assert last == ["child_exit", "child_exit", "on_exit"]
    assert hooked.supervisor.exit_code is None
    hooked.supervisor.exited(generation.pid, "has ended", 0)
    assert hooked.supervisor.exit_code == 0


def test_a_template_that_hangs_in_a_hook_holds_the_end_up_for_seconds_only(hooked: FakeMachine) -> None:
    template = hooked.supervisor.generation.pid
    hooked.supervisor.stop("SIGTERM")
    for member in hooked.draining:
        hooked.supervisor.exited(member.pid, "has ended", 0)
    hooked.pass_time(2)
    assert not hooked.killed
    hooked.pass_time(3)
    assert hooked.killed == [(template, signal.SIGKILL)]
    assert hooked.supervisor.exit_code is None
    hooked.end()
    assert hooked.supervisor.exit_code == 0
