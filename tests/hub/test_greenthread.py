"""Green threads: spawn, kill, wait, link; what ends them and who is told."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import weakref

import pytest
from greenlet import GreenletExit

from greenserve.errors import BlockingInHub, HubError
from greenserve.hub import getcurrent, joinall, kill, sleep, spawn, spawn_after, spawn_after_local, use_hub
from greenserve.hub.core.hub import Hub, running, wake
from tests.hub.support import VirtualTime, run


def test_wait_returns_what_the_function_returns(hub: Hub):
    assert spawn(divmod, 7, 2).wait() == (3, 1)


def test_wait_raises_what_the_function_raises(hub: Hub, capsys: pytest.CaptureFixture[str]):
    thread = spawn(int, "x")
    with pytest.raises(ValueError, match="invalid literal"):
        thread.wait()
    with pytest.raises(ValueError, match="invalid literal"):
        thread.get()
    assert isinstance(thread.error, ValueError)
    capsys.readouterr()


def test_wait_with_a_timeout(virtual: VirtualTime):
    thread = spawn(sleep, 10)
    with pytest.raises(TimeoutError, match=r"sleep-.* did not end within 4 seconds"):
        thread.wait(4)
    assert virtual.now == 4
    assert thread.wait(7) is None
    assert virtual.now == 10


def test_join_says_whether_the_end_has_come(virtual: VirtualTime):
    thread = spawn(sleep, 10)
    assert not thread.join(4)
    thread.kill()
    assert thread.join()


def test_a_green_thread_cannot_wait_for_itself(hub: Hub):
    def narcissus() -> None:
        with pytest.raises(HubError, match="own end"):
            getcurrent().wait()

    spawn(narcissus).wait()


def test_a_killed_thread_ends_quietly(hub: Hub, capsys: pytest.CaptureFixture[str]):
    thread = spawn(sleep, 1000)
    sleep(0)
    thread.kill()
    assert thread.dead
    with pytest.raises(GreenletExit):
        thread.wait()
    assert capsys.readouterr().err == ""


def test_a_thread_killed_before_it_begins_never_runs(hub: Hub):
    ran: list[int] = []
    thread = spawn(ran.append, 1)
    thread.kill()
    sleep(0)
    assert (ran, thread.dead, thread.started) == ([], True, True)
    with pytest.raises(GreenletExit):
        thread.wait()


def test_killing_never_raises_in_the_killer(hub: Hub, capsys: pytest.CaptureFixture[str]):
    def stubborn() -> None:
        try:
            sleep(1000)
        finally:
            raise RuntimeError("on my way out")

    thread = spawn(stubborn)
    sleep(0)
    thread.kill()
    thread.kill()
    assert isinstance(thread.error, RuntimeError)
    assert "on my way out" in capsys.readouterr().err


def test_kill_with_an_exception_makes_wait_raise_it_and_prints_nothing(hub: Hub, capsys: pytest.CaptureFixture[str]):
    for arguments in ((KeyError("x"),), (KeyError, "x"), (KeyError, KeyError("x"))):
        thread = spawn(sleep, 1000)
        sleep(0)
        kill(thread, *arguments)
        with pytest.raises(KeyError, match="x"):
            thread.wait()
    assert capsys.readouterr().err == ""


def test_the_end_of_a_killed_thread_frees_what_it_used_though_its_object_is_kept(hub: Hub):
    class Thing:
        pass

    things: list[weakref.ref[Thing]] = []

    def user() -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        try:
            raise ValueError("whose traceback has the frame, too")
        except ValueError:
            sleep(1000)

    thread = spawn(user)
    sleep(0)
    thread.kill()
    assert thread.dead
    assert things[0]() is None
    for _ in range(2):
        with pytest.raises(GreenletExit):
            thread.wait()


def test_an_errors_traceback_does_not_grow_by_each_who_waits(hub: Hub):
    def fail() -> None:
        raise ValueError

    thread = spawn(fail)
    thread.quiet = True
    lengths = set()
    for _ in range(5):
        with pytest.raises(ValueError) as caught:
            thread.wait()
        lengths.add(len(caught.traceback))
        with pytest.raises(ValueError) as caught:
            joinall([thread], raise_error=True)
        assert len(caught.traceback) < 10
    assert len(lengths) == 1


def test_an_error_after_a_survived_kill_is_printed(hub: Hub, capsys: pytest.CaptureFixture[str]):
    def survivor() -> None:
        with contextlib.suppress(GreenletExit):
            sleep(1000)
        raise RuntimeError("later")

    thread = spawn(survivor)
    sleep(0)
    thread.kill()
    assert thread.join()
    assert "later" in capsys.readouterr().err


def test_killing_oneself_raises_at_once(hub: Hub):
    reached = []

    def suicide() -> None:
        with contextlib.suppress(GreenletExit):
            getcurrent().kill()
            reached.append("past the kill")
        reached.append("past the exit")

    spawn(suicide).wait()
    assert reached == ["past the exit"]


def test_a_thread_that_is_claimed_already_gets_what_it_was_handed_and_is_killed_at_its_next_park(hub: Hub):
    handed = []

    def taker() -> None:
        greenlet = running()
        tokens.append([greenlet])
        handed.append(hub.park(greenlet, tokens[0]))
        sleep(0)
        handed.append("survived")

    tokens: list[list[object]] = []
    thread = spawn(taker)
    sleep(0)
    wake(tokens[0], "a present")
    thread.kill()
    assert thread.join()
    assert handed == ["a present"]
    assert isinstance(thread.error, GreenletExit)


def test_a_thread_that_pauses_is_killed_when_its_turn_comes(hub: Hub):
    def spinner() -> None:
        while True:
            sleep(0)

    thread = spawn(spinner)
    sleep(0)
    thread.kill()
    assert thread.dead


def test_a_sleeper_whose_time_is_over_is_killed_before_it_goes_on(virtual: VirtualTime):
    went_on = []

    def sleeper() -> None:
        sleep(5)
        went_on.append(1)

    spawn_after(5, lambda: victim.kill())  # noqa: PLW0108 - not made yet; its timer comes first, but the sleeper is claimed in the same round
    victim = spawn(sleeper)
    sleep(10)
    assert isinstance(victim.error, GreenletExit)
    assert went_on == []


def test_kill_without_block_lets_nobody_run(hub: Hub):
    order = []

    def victim() -> None:
        try:
            sleep(1000)
        finally:
            order.append("victim")

    thread = spawn(victim)
    sleep(0)
    thread.kill(block=False)
    order.append("killer")
    sleep(0)
    assert order == ["killer", "victim"]


def test_cancel_ends_only_what_has_not_begun(hub: Hub):
    begun, fresh = spawn(sleep, 1000), None
    sleep(0)
    fresh = spawn(sleep, 1000)
    begun.cancel()
    fresh.cancel()
    assert (begun.dead, fresh.dead) == (False, True)


def test_spawn_after_runs_at_its_time_and_can_be_cancelled(virtual: VirtualTime):
    at: list[float] = []
    spawn_after(3, lambda: at.append(virtual.now))
    spawn_after(4, lambda: at.append(virtual.now)).cancel()
    spawn_after(5, lambda: at.append(virtual.now))
    sleep(10)
    assert at == [3, 5]


def test_spawn_after_local_is_forgotten_with_its_spawner(virtual: VirtualTime):
    ran: list[int] = []
    spawn(lambda: spawn_after_local(3, ran.append, 1)).wait()
    sleep(10)
    assert ran == []


def test_links_are_called_once_also_after_the_end(hub: Hub, capsys: pytest.CaptureFixture[str]):
    ends = []

    def note(thread: object, *args: object, **kwargs: object) -> None:
        ends.append((thread, args, kwargs))

    def broken(thread: object) -> None:
        raise RuntimeError("a broken link")

    thread = spawn(int)
    thread.link(broken)
    thread.link(note, 1, two=2)
    thread.link(note, "unlinked")
    assert thread.unlink(note, "unlinked")
    assert not thread.unlink(note, "never linked")
    thread.wait()
    thread.link(note, 3)
    assert ends == [(thread, (1,), {"two": 2}), (thread, (3,), {})]
    assert "a broken link" in capsys.readouterr().err


def test_an_uncaught_error_prints_one_traceback_with_the_threads_name_and_the_others_live_on(
    hub: Hub, capsys: pytest.CaptureFixture[str]
):
    def failing() -> None:
        raise RuntimeError("boom")

    thread = spawn(failing)
    thread.name = "the unlucky one"
    other = spawn(lambda: sleep(0) or "alive")
    assert other.wait() == "alive"
    error = capsys.readouterr().err
    assert error.count("Traceback") == 1
    assert "the unlucky one" in error
    assert "test_greenthread.py" in error


def test_system_exit_of_a_green_thread_reaches_main_and_finally_blocks_run():
    done = run(
        """
        from greenserve.hub import sleep, spawn
        def leave():
            try:
                raise SystemExit(7)
            finally:
                print("thread's finally")
        spawn(leave)
        try:
            sleep(30)
        finally:
            print("main's finally")
        """,
        status=7,
    )
    assert done.stdout.split("\n")[:2] == ["thread's finally", "main's finally"]
    assert done.stderr == ""


def test_system_exit_reaches_a_main_that_waits_for_that_very_thread():
    run("import sys; from greenserve.hub import spawn; spawn(sys.exit, 5).wait()", status=5)


def test_blocking_in_the_hubs_own_greenlet_raises_an_error_that_says_so(hub: Hub):
    errors: list[BaseException] = []

    def callback() -> None:
        for block in (sleep, spawn(int).wait, lambda: hub.wait_readable(hub.wakeup.fd)):
            try:
                block()
            except BlockingInHub as error:
                errors.append(error)

    hub.call_soon(callback)
    sleep(0)
    assert len(errors) == 3
    assert "spawn a green thread" in str(errors[0])


def test_a_spawned_thread_has_a_copy_of_its_spawners_context(hub: Hub):
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("main's")

    def child() -> str:
        inherited = variable.get()
        variable.set("child's")
        sleep(0)
        assert variable.get() == "child's"
        return inherited

    later = spawn_after(0.001, child)
    assert spawn(child).wait() == "main's"
    assert later.wait() == "main's"
    assert variable.get() == "main's"


def test_a_reused_carrier_shows_the_next_job_nothing_of_the_last_ones_context(hub: Hub):
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    class Job:
        def run(self) -> None:
            seen.append(variable.get())

    spawn(variable.set, "left behind").wait()
    hub.ready.append(hub.take_carrier(Job()))
    sleep(0)
    assert seen == ["unset"]


def test_an_idle_carrier_keeps_nothing_of_its_last_job_alive(hub: Hub):
    class Thing:
        pass

    variable = contextvars.ContextVar[object]("variable")

    def job(thing: Thing) -> None:
        variable.set(thing)

    thing = Thing()
    alive = weakref.ref(thing)
    thread = spawn(job, thing)
    del thing
    thread.wait()
    sleep(0)
    assert alive() is None


def test_what_a_thread_was_handed_does_not_live_longer_than_it_wants(hub: Hub):
    class Thing:
        pass

    tokens: list[list[object]] = []

    def taker() -> None:
        greenlet = running()
        tokens.append([greenlet])
        hub.park(greenlet, tokens[0])
        sleep(1000)

    spawn(taker)
    sleep(0)
    thing = Thing()
    alive = weakref.ref(thing)
    wake(tokens[0], thing)
    del thing
    sleep(0)
    assert alive() is None


def test_main_and_jobs_have_a_green_thread_that_stands_for_them(hub: Hub):
    main = getcurrent()
    assert main is getcurrent()
    assert (main.name, main.birthplace, main.dead) == ("main", "?", False)
    spawned = spawn(getcurrent)
    assert spawned.wait() is spawned


def test_a_thread_names_its_function_and_its_birthplace(hub: Hub):
    thread = spawn(sleep, 0)
    assert thread.name.startswith("sleep-")
    assert "test_greenthread.py:" in thread.birthplace
    assert "(new), spawned at" in repr(thread)
    thread.wait()
    assert thread.name.startswith("sleep-")


def test_many_short_functions_spawned_at_once_share_few_carriers(hub: Hub):
    threads = [spawn(pow, number, 2) for number in range(1000)]
    assert [thread.wait() for thread in threads] == [number**2 for number in range(1000)]
    assert len(hub.carriers) < 10


def test_more_threads_than_carriers_are_kept(hub: Hub):
    hub.max_idle_carriers = 3
    threads = [spawn(sleep, 0) for _ in range(10)]
    for thread in threads:
        thread.wait()
    sleep(0)
    assert len(hub.idle_carriers) == 3
    assert len(hub.carriers) == 3


def test_a_job_that_raises_against_its_contract_harms_nobody(hub: Hub, capsys: pytest.CaptureFixture[str]):
    class Broken:
        def run(self) -> None:
            raise RuntimeError("a broken job")

    hub.ready.append(hub.take_carrier(Broken()))
    assert spawn(int).wait() == 0
    assert "a broken job" in capsys.readouterr().err


def test_a_second_hub_ends_the_green_threads_of_the_first():
    ends = []

    def unwinding() -> None:
        try:
            sleep(1000)
        finally:
            ends.append("finally")
            with contextlib.suppress(BaseException):
                sleep(1000)
            ends.append("not blocked")

    use_hub(Hub())
    parked = spawn(unwinding)
    sleep(0)
    fresh = spawn(sleep, 0)
    use_hub(Hub())
    assert ends == ["finally", "not blocked"]
    assert parked.dead
    assert fresh.dead
    with pytest.raises(GreenletExit):
        fresh.wait()


def test_a_green_thread_that_swallows_every_exit_does_not_keep_its_hub_from_closing():
    def immortal() -> None:
        while True:
            with contextlib.suppress(BaseException):
                sleep(1000)

    use_hub(Hub())
    spawn(immortal)
    sleep(0)
    use_hub(Hub())
    sleep(0)


def test_a_hub_is_closed_by_main_alone(hub: Hub):
    with pytest.raises(HubError, match="main greenlet"):
        spawn(hub.close).wait()


def test_spawning_from_another_os_thread_uses_that_threads_hub(hub: Hub):
    found = []

    def other() -> None:
        thread = spawn(lambda: found.append(running().hub))
        thread.wait()

    os_thread = threading.Thread(target=other)
    os_thread.start()
    os_thread.join()
    assert found
    assert found[0] is not hub


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_exit_in_a_link_reaches_main_and_the_other_links_are_called(
    hub: Hub, capsys: pytest.CaptureFixture[str], error: type[BaseException]
):
    def end(_: object) -> None:
        raise error

    called: list[object] = []
    thread = spawn(int)
    thread.link(end)
    thread.link(called.append)
    with pytest.raises(error):
        sleep(1000)
    assert called == [thread]
    assert capsys.readouterr().err == ""
