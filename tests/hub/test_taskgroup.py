"""TaskGroup: no child outlives the block."""

# ruff: noqa: PT012 - what is tested is how blocks end

from __future__ import annotations

import threading

import pytest
from greenlet import GreenletExit

from greenserve.errors import HubError
from greenserve.hub import TaskGroup, Timeout, sleep, spawn
from greenserve.testing import virtual_time


def fail(error, after=0.0):
    sleep(after)
    raise error


def test_the_end_of_the_block_waits_for_all(virtual):
    with TaskGroup() as group:
        threads = [group.spawn(sleep, n) for n in range(5)]
        assert virtual.now == 0
    assert all(thread.dead for thread in threads)
    assert virtual.now == 4
    with TaskGroup():
        pass


def test_children_may_spawn_children_until_all_have_ended(virtual):
    log = []

    def child(group, n):
        sleep(1)
        log.append(n)
        if n:
            group.spawn(child, group, n - 1)

    with TaskGroup() as group:
        group.spawn(child, group, 3)
    assert log == [3, 2, 1, 0]


def test_results_are_in_the_threads(hub):
    with TaskGroup() as group:
        threads = [group.spawn(pow, 2, n) for n in range(4)]
        assert __file__ in threads[0].birthplace
    assert [thread.wait() for thread in threads] == [1, 2, 4, 8]


def test_the_first_error_kills_the_siblings_and_arrives_as_a_group(virtual, capsys):
    log = []

    def sibling():
        try:
            sleep(1000)
        finally:
            log.append(virtual.now)

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(sibling)
        group.spawn(fail, ValueError("first"), 1)
        group.spawn(sibling)
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert log == [1, 1]
    assert capsys.readouterr().err == ""


def test_errors_of_siblings_on_their_way_out_are_in_the_group_too(virtual):
    def stubborn():
        try:
            sleep(1000)
        except GreenletExit:
            raise LookupError("on the way out") from None

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(stubborn)
        group.spawn(fail, ValueError("first"))
    assert [type(error) for error in caught.value.exceptions] == [ValueError, LookupError]
    with pytest.raises(BaseExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(fail, BaseException("no Exception"))
    assert not isinstance(caught.value, ExceptionGroup)


def test_an_error_of_a_child_ends_the_block(virtual):
    log = []
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        group.spawn(fail, ValueError("child"), 1)
        try:
            sleep(1000)
        finally:
            log.append(virtual.now)
        log.append("never")
    assert log == [1]
    sleep(5)  # nothing is left that could end us


def test_a_block_that_does_not_wait_again_is_not_hit_later(virtual):
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        group.spawn(fail, ValueError("child"))
        try:
            sleep()
            sleep()
        except GreenletExit:
            pass  # swallowed: the group still fails
    sleep(1)


def test_an_error_of_the_block_kills_the_children(virtual):
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        thread = group.spawn(sleep, 1000)
        sleep(1)
        raise KeyError("block")
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert thread.dead
    assert virtual.now == 1


def test_a_timeout_in_the_block_waits_for_the_children_and_goes_on_as_it_is(virtual):
    log = []

    def slow_to_end():
        try:
            sleep(1000)
        finally:
            sleep(3)
            log.append(virtual.now)

    with pytest.raises(Timeout), Timeout(2), TaskGroup() as group:
        group.spawn(slow_to_end)
        sleep(1000)
    assert log == [5]


def test_a_timeout_while_the_block_waits_for_the_children_too(virtual):
    with pytest.raises(Timeout), Timeout(2), TaskGroup() as group:
        thread = group.spawn(sleep, 1000)
    assert thread.dead
    assert virtual.now == 2
    with pytest.raises(LookupError), Timeout(2, LookupError), TaskGroup() as group:
        group.spawn(sleep, 1000)


def test_killing_the_owner_kills_the_children_first(virtual, capsys):
    log = []

    def child():
        try:
            sleep(1000)
        finally:
            log.append("child")

    def owner():
        try:
            with TaskGroup() as group:
                group.spawn(child)
                group.spawn(child)
        finally:
            log.append("owner")

    thread = spawn(owner)
    sleep()
    sleep()
    thread.kill()
    thread.join()
    assert isinstance(thread.error, GreenletExit)
    assert log == ["child", "child", "owner"]


def test_an_error_that_a_kill_from_outside_hides_is_printed(virtual, capsys):
    def child():
        try:
            sleep(1000)
        except GreenletExit:
            raise LookupError("hidden") from None

    with pytest.raises(Timeout), Timeout(1), TaskGroup() as group:
        group.spawn(child)
    assert "hidden" in capsys.readouterr().err


def test_a_child_that_somebody_else_kills_has_not_failed(virtual):
    with TaskGroup() as group:
        other = group.spawn(sleep, 5)
        group.spawn(sleep, 1000).kill()
        victim = group.spawn(sleep, 1000)
        sleep(1)
        victim.kill()
    assert other.error is None
    assert virtual.now == 5


def test_cancel_ends_the_group_silently(virtual):
    log = []
    with TaskGroup() as group:
        group.spawn(sleep, 1000)
        group.cancel()
        group.cancel()
        sleep(1000)
        log.append("never")
    assert log == []
    assert virtual.now == 0
    with TaskGroup() as group:
        threads = [group.spawn(sleep, 1000)]
        group.spawn(lambda: (sleep(1), group.cancel(), log.append("caller"), sleep(1000)))
        threads.append(group.spawn(sleep, 1000))
    assert virtual.now == 1
    assert log == ["caller"]
    assert all(isinstance(thread.error, GreenletExit) for thread in threads)


def test_a_nested_group_ends_before_the_outer_one(virtual):
    log = []

    def child(name):
        try:
            sleep(1000)
        finally:
            log.append(name)

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as outer:
        outer.spawn(fail, ValueError("outer"), 1)
        with TaskGroup() as inner:
            inner.spawn(child, "inner")
        log.append("never")
    assert log == ["inner"]
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


def test_an_error_of_a_nested_group_is_nested(virtual):
    with pytest.raises(ExceptionGroup) as caught, TaskGroup(), TaskGroup() as inner:
        inner.spawn(fail, ValueError("inner"))
    assert isinstance(caught.value.exceptions[0], ExceptionGroup)
    assert isinstance(caught.value.exceptions[0].exceptions[0], ValueError)


def test_spawning_in_a_group_that_has_ended_or_is_cancelled_is_refused(hub):
    group = TaskGroup()
    with pytest.raises(HubError, match="cannot spawn"):
        group.spawn(int)
    with group:
        pass
    with pytest.raises(HubError, match="done"):
        group.spawn(int)
    with pytest.raises(HubError, match="entered again"), group:
        pass
    with TaskGroup() as group:
        group.cancel()
        with pytest.raises(HubError, match="cancelled"):
            group.spawn(int)


def test_a_child_spawned_from_another_os_thread_is_waited_for(hub):
    log = []

    def elsewhere(group):
        child = group.spawn(lambda: (sleep(0.01), log.append("done")))
        child.wait()

    with TaskGroup() as group:
        thread = threading.Thread(target=elsewhere, args=(group,))
        thread.start()
        while not group._children:
            sleep(0.001)
    assert log == ["done"]
    thread.join()


def test_any_schedule_leaves_no_child_behind():
    for seed in range(60):
        with virtual_time(seed) as clock:
            alive, threads = set(), []

            def child(n, alive=alive, seed=seed):
                alive.add(n)
                try:
                    sleep(n % 4)
                    if n == seed % 7:
                        raise ValueError(n)
                    sleep(n % 3)
                finally:
                    alive.discard(n)

            try:
                with Timeout(seed % 5 + 0.5), TaskGroup() as group:
                    threads += [group.spawn(child, n) for n in range(6)]
                    with TaskGroup() as inner:
                        threads += [inner.spawn(child, n) for n in range(6, 9)]
            except (ExceptionGroup, Timeout):
                pass
            assert not alive
            assert all(thread.dead for thread in threads)
            assert clock() < 6


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["main", "green thread", "nested"])
def test_an_exit_in_a_child_is_an_exit_and_no_errors_traceback(hub, capsys, error, where):
    killed = []

    def end():
        sleep(0)
        raise type(error)(*error.args)

    def other():
        try:
            sleep(1000)
        except GreenletExit as exit_:
            killed.append(exit_)

    def body():
        with TaskGroup() as group:
            group.spawn(other)
            if where == "nested":
                with TaskGroup() as inner:
                    inner.spawn(end)
            else:
                group.spawn(end)

    with pytest.raises(type(error)) as raised:
        if where == "main":
            body()
        else:
            spawn(body)
            sleep(1000)
    assert raised.value.args == error.args
    for _ in range(3):
        sleep(0)  # it does not come twice
    assert len(killed) == 1
    assert capsys.readouterr().err == ""
