"""What the supervisor does with `--reload`; no process is started."""

from __future__ import annotations

import signal

import pytest

from greenserve.supervisor.members import Member
from tests.supervisor.machine import FakeMachine
from tests.supervisor.test_supervisor import orders

SCOPE = {"directories": ["/app"], "anew": False}


@pytest.fixture
def machine() -> FakeMachine:
    machine = FakeMachine()
    machine.load(1, watch=SCOPE)
    machine.ready()
    return machine


def asked(machine: FakeMachine) -> dict[str, object]:
    """By what the last worker was asked for."""
    channel = machine.supervisor.generation.channel
    return channel.sent[-1]  # type: ignore[union-attr, no-any-return]  # an End


def dismissed(member: Member) -> bool:
    return "within" in orders(member)[-1]


def test_the_files_are_watched_that_a_template_names(machine: FakeMachine) -> None:
    assert machine.watched == [SCOPE]
    more = {"more": {"directories": ["/lib"], "files": []}, "since": 0.0}
    machine.supervisor.heard_worker(machine.serving[0], more)
    assert machine.watched[1] == more


def test_after_a_change_the_old_worker_accepts_no_more_before_the_new_one_is_ready(machine: FakeMachine) -> None:
    (old,) = machine.serving
    machine.supervisor.changed("views.py", False)
    assert dismissed(old)
    assert machine.draining == [old]
    assert len(machine.starting) == 1
    assert "reloading: views.py changed" in machine.said("info")
    assert machine.supervisor.generation.number == 1, "the same template forks it"
    machine.ready()
    machine.end(old)
    assert len(machine.supervisor.members) == 1


def test_a_worker_that_loads_old_code_is_killed(machine: FakeMachine) -> None:
    machine.supervisor.changed("views.py", False)
    machine.fork()
    (loading,) = machine.starting
    machine.supervisor.changed("views.py", False)
    assert (loading.pid, signal.SIGKILL) in machine.killed
    assert len(machine.starting) == 1
    machine.end(loading, how="was killed by SIGKILL", code=None)
    assert not machine.said("error")
    assert len(machine.starting) == 1


def test_a_worker_that_does_not_end_is_killed_soon(machine: FakeMachine) -> None:
    (old,) = machine.serving
    machine.supervisor.changed("views.py", False)
    machine.ready()
    machine.pass_time(6)
    assert machine.killed == [(old.pid, signal.SIGKILL)]


def test_a_load_that_kills_its_process_is_explained_by_the_next_worker_until_the_next_change(
    machine: FakeMachine,
) -> None:
    machine.supervisor.changed("views.py", False)
    machine.fork()
    machine.end(*machine.starting, how="was killed by SIGSEGV", code=None)
    assert "was killed by SIGSEGV" in str(asked(machine)["trouble"])
    machine.ready()
    assert len(machine.serving) == 1
    machine.supervisor.changed("views.py", False)
    assert not asked(machine)["trouble"]


def test_also_at_the_first_start(machine: FakeMachine) -> None:
    machine = FakeMachine()
    machine.load(1, watch=SCOPE)
    machine.end(*machine.starting, how="ended with exit status 7", code=7)
    assert machine.supervisor.exit_code is None
    assert "exit status 7" in str(asked(machine)["trouble"])


def test_a_worker_that_cannot_even_explain_ends_the_server(machine: FakeMachine) -> None:
    machine = FakeMachine()
    machine.load(1, watch=SCOPE)
    for _ in range(2):
        machine.end(*machine.starting, how="ended with exit status 2", code=2)
    assert machine.supervisor.exit_code == 3


def test_a_worker_that_dies_later_has_a_successor_of_the_same_code(machine: FakeMachine) -> None:
    machine.end(*machine.serving, how="was killed by SIGSEGV", code=None)
    machine.pass_time(1)
    assert not asked(machine)["trouble"]
    assert len(machine.starting) == 1


def test_changed_settings_are_read_by_a_new_template_while_connections_wait(machine: FakeMachine) -> None:
    (old,) = machine.serving
    first = machine.supervisor.generation
    machine.supervisor.changed("site.env", True)
    assert dismissed(old)
    assert not machine.starting
    machine.load(2, watch=SCOPE)
    machine.ready()
    assert len(machine.serving) == 2
    assert machine.supervisor.generation.number == 2
    assert first.channel is None, "its template has ended"


def test_a_template_that_has_loaded_code_of_the_application_is_replaced_at_each_change() -> None:
    machine = FakeMachine()
    machine.load(1, watch={**SCOPE, "anew": True})
    machine.ready()
    machine.supervisor.changed("views.py", False)
    assert not machine.starting
    assert machine.supervisor.generation.number == 2


def test_settings_that_change_while_they_are_read_are_read_again(machine: FakeMachine) -> None:
    machine.supervisor.changed("site.env", True)
    template = machine.supervisor.generation.pid
    machine.supervisor.changed("site.env", True)
    assert (template, signal.SIGTERM) in machine.killed
    machine.load(1, watch=SCOPE)
    machine.ready()
    assert machine.supervisor.generation.number == 3
    assert machine.supervisor.before is None


def test_settings_that_are_wrong_are_explained_by_a_worker_of_the_old_ones(machine: FakeMachine) -> None:
    machine.supervisor.changed("greenserve.toml", True)
    new = machine.supervisor.generation
    machine.supervisor.heard_template(new, {"failed": "'oops' is not an option"})
    machine.supervisor.exited(new.pid, "ended with exit status 2", 2)
    assert "'oops' is not an option" in str(asked(machine)["trouble"])
    machine.ready()
    machine.supervisor.changed("greenserve.toml", True)
    machine.load(1, watch=SCOPE)
    machine.ready()
    assert not asked(machine)["trouble"]


def test_sighup_is_as_a_change_of_everything(machine: FakeMachine) -> None:
    (old,) = machine.serving
    machine.supervisor.reload()
    assert dismissed(old)
    machine.load(1, watch=SCOPE)
    assert len(machine.starting) == 1


def test_what_outdated_workers_kill_is_no_failure_of_the_server(machine: FakeMachine) -> None:
    machine.supervisor.changed("views.py", False)
    machine.ready()
    machine.supervisor.stop("SIGTERM")
    machine.end(machine.draining[0], how="ended with exit status 1", code=1)
    machine.end()
    assert machine.supervisor.exit_code == 0


def test_changes_at_the_end_are_too_late(machine: FakeMachine) -> None:
    machine.supervisor.stop("SIGTERM")
    machine.supervisor.changed("views.py", False)
    assert not machine.starting
    machine.end()
    assert machine.supervisor.exit_code == 0
