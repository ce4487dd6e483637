"""GreenPool, GreenPile, and pools of resources."""

from __future__ import annotations

import gc
from contextvars import ContextVar

import pytest
from greenlet import GreenletExit

from greenserve.errors import HubError
from greenserve.hub import Timeout, getcurrent, sleep, spawn
from greenserve.hub.greenpool import GreenPile, GreenPool
from greenserve.hub.resource_pool import Pool, TokenPool
from greenserve.hub.sync.queue import Queue
from greenserve.testing import virtual_time


def test_at_most_size_run_at_a_time(virtual):
    pool, running, most = GreenPool(3), [0], [0]

    def work():
        running[0] += 1
        most[0] = max(most[0], running[0])
        sleep(1)
        running[0] -= 1

    for _ in range(3):
        pool.spawn(work)
    assert pool.running() == 3
    assert pool.free() == 0
    for _ in range(7):
        pool.spawn(work)
    pool.waitall()
    assert most == [3]
    assert virtual.now == 4
    assert pool.running() == 0
    assert pool.free() == 3


def test_spawn_returns_the_thread_with_the_callers_birthplace(hub):
    pool = GreenPool()
    thread = pool.spawn(lambda a, b=0: a + b, 1, b=2)
    assert __file__ in thread.birthplace
    assert thread.wait() == 3
    assert pool.spawn_n(int) is None
    pool.waitall()


def test_a_closed_hub_ends_those_too_who_have_not_begun():
    log = []
    with virtual_time():
        threads = [GreenPool().spawn(log.append, n) for n in range(3)]
    assert all(thread.dead for thread in threads)
    assert log == []


def test_many_short_functions_share_few_carriers(hub):
    pool = GreenPool()
    threads = [pool.spawn(pow, 2, n) for n in range(500)]
    pool.waitall()
    assert [thread.wait() for thread in threads] == [2**n for n in range(500)]
    assert len(hub.carriers) < 10


def test_pooled_threads_inherit_the_spawners_context(hub):
    variable = ContextVar("variable")
    variable.set("spawner's")
    pool = GreenPool()
    threads = [pool.spawn(lambda n=n: (variable.get(), variable.set(n), sleep(), variable.get())) for n in range(3)]
    assert [thread.wait()[0] for thread in threads] == ["spawner's"] * 3
    assert [thread.wait()[3] for thread in threads] == [0, 1, 2]
    assert variable.get() == "spawner's"


def test_who_waits_for_room_is_counted_and_served_in_order(virtual):
    pool, log = GreenPool(1), []

    def work(name):
        log.append(name)
        sleep(1)

    pool.spawn(work, "first")
    spawners = [spawn(pool.spawn, work, name) for name in "abc"]
    sleep()
    assert pool.waiting() == 3
    spawners[0].kill()
    assert pool.waiting() == 2
    pool.waitall()
    assert log == ["first", "b", "c"]


def test_waitall_waits_for_those_too_who_are_about_to_spawn(virtual):
    pool, log = GreenPool(1), []
    pool.spawn(sleep, 1)
    spawner = spawn(pool.spawn, lambda: (sleep(5), log.append("late")))
    sleep()
    pool.waitall()
    assert log == ["late"]
    assert spawner.dead
    pool.waitall()


def test_a_failing_function_frees_its_room(hub, capsys):
    pool = GreenPool(1)
    thread = pool.spawn(int, "x")
    pool.waitall()
    assert "invalid literal" in capsys.readouterr().err
    assert pool.free() == 1
    with pytest.raises(ValueError, match="invalid literal"):
        thread.wait()


def test_a_killed_thread_frees_its_room_even_if_it_never_ran(hub):
    pool = GreenPool(2)
    never, parked = pool.spawn(int), pool.spawn(sleep, 1000)
    never.kill()
    sleep()
    parked.kill()
    assert pool.free() == 2
    assert pool.running() == 0


def test_spawning_from_within_a_full_pool_runs_in_place(hub):
    pool = GreenPool(1)

    def outer():
        me = getcurrent()
        thread = pool.spawn(lambda: (getcurrent(), "inner"))
        assert thread.dead
        return thread.wait() == (me, "inner")

    assert pool.spawn(outer).wait()
    assert pool.free() == 1


def test_what_fails_in_place_is_the_inner_threads_error(hub, capsys):
    pool = GreenPool(1)

    def outer():
        thread = pool.spawn(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            thread.wait()
        return "went on"

    assert pool.spawn(outer).wait() == "went on"
    assert "invalid literal" in capsys.readouterr().err


def test_a_kill_in_place_is_the_callers(hub):
    pool, log = GreenPool(1), []

    def outer():
        pool.spawn(sleep, 1000)
        log.append("never")

    thread = pool.spawn(outer)
    sleep()
    thread.kill()
    assert isinstance(thread.error, GreenletExit)
    assert log == []


def test_a_timeout_in_place_is_the_callers(virtual):
    pool = GreenPool(1)

    def outer():
        with pytest.raises(Timeout), Timeout(1):
            pool.spawn(sleep, 1000)
        return virtual.now

    assert pool.spawn(outer).wait() == 1


def test_waitall_from_within_is_refused(hub):
    pool = GreenPool()
    thread = pool.spawn(pool.waitall)
    thread.quiet = True
    with pytest.raises(HubError, match="itself"):
        thread.wait()


def test_a_pool_can_be_resized(virtual):
    pool = GreenPool(1)
    spawners = [spawn(pool.spawn, sleep, 1) for _ in range(6)]
    sleep()
    pool.resize(3)
    sleep()
    sleep()
    assert pool.running() == 3
    pool.resize(1)
    sleep(1.5)
    assert pool.running() == 1
    pool.waitall()
    assert virtual.now == 4
    assert pool.free() == pool.size == 1
    assert all(thread.dead for thread in spawners)


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="negative"):
        GreenPool(-1)
    with pytest.raises(TypeError, match="int"):
        GreenPool("7")
    with pytest.raises(ValueError, match="negative"):
        GreenPool().resize(-1)


def test_imap_keeps_the_order_and_the_pools_limit(virtual):
    pool, running, most = GreenPool(3), [0], [0]

    def work(n):
        running[0] += 1
        most[0] = max(most[0], running[0])
        sleep(5 - n % 5)
        running[0] -= 1
        return n * n

    assert list(pool.imap(work, range(20))) == [n * n for n in range(20)]
    assert most == [3]


def test_imap_takes_several_iterables_and_starmap_tuples(hub):
    pool = GreenPool()
    assert list(pool.imap(pow, [2, 3], [5, 2])) == [32, 9]
    assert list(pool.starmap(pow, [(2, 5), (3, 2)])) == [32, 9]
    assert list(pool.imap(None, "ab", "cd")) == [("a", "c"), ("b", "d")]
    assert list(pool.imap(int, [])) == []


def test_imap_raises_a_calls_error_in_its_place_and_goes_on(hub, capsys):
    results = GreenPool().imap(int, ["1", "x", "3"])
    assert next(results) == 1
    with pytest.raises(ValueError, match="invalid literal"):
        next(results)
    assert list(results) == [3]
    assert list(results) == []
    assert capsys.readouterr().err == ""


def test_imap_raises_its_iterables_error_at_the_end(hub, capsys):
    def inputs():
        yield "1"
        raise LookupError("no more")

    results = GreenPool().imap(int, inputs())
    assert next(results) == 1
    with pytest.raises(LookupError):
        next(results)
    assert list(results) == []
    assert capsys.readouterr().err == ""


def test_imap_gives_results_while_its_input_is_still_to_come(hub):
    inputs = Queue()
    results = GreenPool(4).imap(str, inputs)
    for n in range(3):
        inputs.put(n)
        assert next(results) == str(n)
    inputs.shutdown()
    assert list(results) == []


def test_imap_reads_no_more_than_is_fetched_and_stops_when_it_is_dropped(hub):
    read = []

    def inputs():
        for n in range(1000):
            read.append(n)
            yield n

    results = GreenPool(4).imap(str, inputs())
    assert next(results) == "0"
    for _ in range(20):
        sleep()
    so_far = len(read)
    assert so_far < 15
    feeder = results._feeder
    del results
    gc.collect()
    sleep()
    assert feeder.dead
    assert len(read) == so_far


def test_an_interrupted_imap_has_lost_nothing(virtual):
    results = GreenPool().imap(lambda n: (sleep(10), n)[1], range(3))
    with pytest.raises(Timeout), Timeout(5):
        next(results)
    assert list(results) == [0, 1, 2]


def test_imap_from_within_a_full_pool_runs_in_place(hub):
    pool = GreenPool(1)
    assert pool.spawn(lambda: list(pool.imap(str, range(5)))).wait() == ["0", "1", "2", "3", "4"]


def test_a_pile_gives_results_in_the_order_of_spawning(virtual):
    pile = GreenPile(2)
    for n in range(5):
        pile.spawn(lambda n=n: (sleep(5 - n), n)[1])
    assert list(pile) == [0, 1, 2, 3, 4]
    pile.spawn(int, "7")
    assert list(pile) == [7]


def test_a_pile_raises_an_error_in_its_place(hub, capsys):
    pile = GreenPile(GreenPool(2))
    for text in ("1", "x", "3"):
        pile.spawn(int, text)
    assert next(pile) == 1
    with pytest.raises(ValueError, match="invalid literal"):
        next(pile)
    assert list(pile) == [3]
    assert capsys.readouterr().err == ""


# -- pools of resources


class Connection:
    made = 0

    def __init__(self):
        Connection.made += 1
        self.alive = True
        self.closed = False

    def close(self):
        self.closed = True


def test_items_are_made_when_needed_and_at_most_so_many(virtual):
    pool, in_use, most = Pool(max_size=2, create=object), set(), [0]

    def work():
        with pool.item() as item:
            assert item not in in_use
            in_use.add(item)
            most[0] = max(most[0], len(in_use))
            sleep(1)
            in_use.discard(item)

    threads = [spawn(work) for _ in range(6)]
    sleep()
    assert pool.waiting() == 4
    for thread in threads:
        thread.wait()
    assert most == [2]
    assert pool.current_size == pool.free() == 2
    assert virtual.now == 3


def test_min_size_items_are_made_at_once_and_the_order_is_as_asked():
    for as_stack, expected in ((False, [0, 1]), (True, [1, 1])):
        numbers = iter(range(10))
        pool = Pool(min_size=2, max_size=4, order_as_stack=as_stack, create=lambda numbers=numbers: next(numbers))
        assert pool.current_size == 2
        got = []
        for _ in range(2):
            item = pool.get()
            got.append(item)
            pool.put(item)
        assert got == expected


def test_who_waits_gets_the_item_in_the_order_of_coming_and_the_killed_are_skipped(hub):
    pool = Pool(max_size=1, create=object)
    item = pool.get()
    threads = [spawn(pool.get) for _ in range(3)]
    sleep()
    threads[0].kill()
    pool.put(item)
    assert threads[1].wait() is item
    pool.put(item)
    assert threads[2].wait() is item


def test_waiting_for_an_item_can_time_out(virtual):
    pool = TokenPool(max_size=1)
    pool.get()
    with pytest.raises(TimeoutError, match="within 2 seconds"):
        pool.get(timeout=2)
    assert pool.waiting() == 0


def test_an_idle_item_that_is_no_longer_good_is_replaced(hub):
    pool = Pool(max_size=2, create=Connection, check=lambda c: c.alive, dispose=Connection.close)
    first = pool.get()
    pool.put(first)
    assert pool.get() is first
    first.alive = False
    pool.put(first)
    second = pool.get()
    assert second is not first
    assert first.closed
    assert pool.current_size == 1


def test_a_check_that_raises_means_no(hub):
    def check(connection):
        raise ConnectionError

    pool = Pool(min_size=2, max_size=2, create=Connection, check=check, dispose=Connection.close)
    idle = list(pool.free_items)
    item = pool.get()
    assert item not in idle
    assert all(connection.closed for connection in idle)
    assert pool.current_size == 1
    assert pool.free() == 1


def test_a_create_that_fails_gives_back_its_place(hub):
    answers = iter([ConnectionError("down"), Connection()])

    def create():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    pool = Pool(max_size=1, create=create)
    with pytest.raises(ConnectionError):
        pool.get()
    assert isinstance(pool.get(timeout=0), Connection)


def test_a_broken_item_can_be_discarded(hub):
    pool = Pool(max_size=1, create=Connection, dispose=Connection.close)
    with pool.item() as item:
        pool.discard(item)
        assert item.closed
    assert pool.current_size == 0
    assert pool.free() == 1
    with pytest.raises(RuntimeError, match="own"), pool.item():
        raise RuntimeError("own")
    assert pool.free() == 1


def test_a_resource_pool_can_be_resized(hub):
    pool = Pool(max_size=3, create=Connection, dispose=Connection.close)
    out = [pool.get() for _ in range(3)]
    pool.put(out.pop())
    pool.resize(1)
    assert pool.current_size == 2
    assert pool.free() == 0
    pool.put(out[0])
    assert out[0].closed
    pool.put(out[1])
    assert not out[1].closed
    assert pool.current_size == pool.free() == 1
    pool.resize(2)
    assert pool.free() == 2


def test_a_pool_needs_something_that_creates():
    with pytest.raises(NotImplementedError):
        Pool().get()
    with pytest.raises(ValueError, match="min_size"):
        Pool(min_size=5, max_size=4)

    class Mine(Pool):
        def create(self):
            return 5

    assert Mine().get() == 5
