"""iwait, joinall, waitall."""

from __future__ import annotations

import pytest

from greenserve.hub import iwait, joinall, sleep, spawn, waitall


def nap(seconds):
    sleep(seconds)
    return seconds


def fail_after(seconds):
    sleep(seconds)
    raise ValueError(seconds)


def quiet(thread):
    thread.quiet = True
    return thread


def test_iwait_gives_the_threads_in_the_order_of_their_ends(virtual):
    threads = [spawn(nap, n) for n in (3, 1, 2)]
    done = spawn(nap, 0)
    done.wait()
    assert [thread.wait() for thread in iwait([*threads, done])] == [0, 1, 2, 3]


def test_iwait_ends_after_its_timeout_and_leaves_no_links(virtual):
    threads = [spawn(nap, n) for n in (1, 2, 30)]
    assert [thread.wait() for thread in iwait(threads, timeout=10)] == [1, 2]
    assert virtual.now == 10
    assert not threads[2]._ends
    for _ in iwait([threads[2]], timeout=0):
        pytest.fail("it has not ended")
    some = iwait([threads[2]])
    some.close()
    assert not threads[2]._ends


def test_joinall_returns_those_that_have_ended(virtual):
    threads = [spawn(nap, 1), quiet(spawn(fail_after, 2)), spawn(nap, 30)]
    assert joinall(threads, timeout=5) == threads[:2]
    assert joinall(threads, count=1) == [threads[0]]
    assert joinall(threads, count=0) == []
    assert joinall(threads) == threads
    assert virtual.now == 30
    assert joinall([]) == []


def test_joinall_raises_the_first_error_if_asked_to(virtual):
    threads = [spawn(nap, 30), quiet(spawn(fail_after, 2))]
    with pytest.raises(ValueError, match="2"):
        joinall(threads, raise_error=True)
    assert virtual.now == 2


def test_waitall_returns_the_results_in_the_order_of_the_threads(virtual):
    threads = [spawn(nap, n) for n in (3, 1, 2)]
    assert waitall([*threads, threads[0]]) == [3, 1, 2, 3]
    assert waitall([]) == []


def test_waitall_raises_the_first_error_at_once_and_timeouts(virtual):
    threads = [spawn(nap, 30), quiet(spawn(fail_after, 2))]
    with pytest.raises(ValueError, match="2"):
        waitall(threads)
    with pytest.raises(TimeoutError, match="1 of 1"):
        waitall(threads[:1], timeout=3)
    assert virtual.now == 5
