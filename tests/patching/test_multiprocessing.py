"""multiprocessing in a patched process: its locks, and what is built on them."""

from __future__ import annotations

from tests.patching.programs import run

PATCHED = """
import greenserve
greenserve.monkey_patch()
import multiprocessing, threading, time
context = multiprocessing.get_context("spawn")
"""


def patched(program: str) -> None:
    """Run it in a process of its own; it must print nothing on standard error."""
    _, stderr = run(PATCHED + program)
    assert stderr == ""


def test_who_waits_for_another_processs_lock_lets_others_run():
    patched("""
for make in context.Lock, context.RLock, context.Semaphore:
    lock = make()
    lock.acquire()
    order = []
    def want():
        with lock:
            order.append("taken")
    wanting = threading.Thread(target=want)
    wanting.start()
    threading.Thread(target=order.append, args=["other"]).start()
    while not order:
        time.sleep(0)
    order.append("released")
    lock.release()
    wanting.join()
    assert order == ["other", "released", "taken"], order
""")


def test_a_wait_for_a_lock_has_a_deadline():
    patched("""
for lock in context.Lock(), context.RLock():
    with lock:
        def want(found):
            found += [lock.acquire(False), lock.acquire(True, 0.02), lock.acquire(timeout=-1)]
        found = []
        wanting = threading.Thread(target=want, args=[found])
        wanting.start()
        wanting.join()
        assert found == [False] * 3, found
    assert lock.acquire(timeout=0.02)
    lock.release()
""")


def test_a_recursive_lock_excludes_the_threads_of_one_process_and_is_released_by_its_owner_only():
    patched("""
lock = context.RLock()
def want(found):
    found.append(lock.acquire(False))
    try:
        lock.release()
    except AssertionError as error:
        found.append("not owned" in str(error))
with lock, lock:
    found = []
    wanting = threading.Thread(target=want, args=[found])
    wanting.start()
    wanting.join()
assert found == [False, True], found
assert lock.acquire(False)
""")


def test_a_real_thread_waits_in_the_kernel():
    patched("""
lock = context.Lock()
lock.acquire()
real = greenserve.original("threading").Thread(target=lock.acquire)
real.start()
lock.release()
greenserve.original("threading").Thread.join(real)
assert not lock.acquire(False)
""")


def test_a_child_that_is_forked_while_a_thread_holds_a_recursive_lock_may_take_it_in_its_turn():
    patched("""
import os
lock = multiprocessing.get_context("fork").RLock()
def hold(held, go):
    with lock:
        held.set()
        go.wait()
held, go = threading.Event(), threading.Event()
holding = threading.Thread(target=hold, args=[held, go])
holding.start()
held.wait()
child = multiprocessing.get_context("fork").Process(target=lock.acquire, kwargs={"timeout": 30})
child.start()
go.set()
holding.join()
child.join()
assert child.exitcode == 0
""")


def test_a_condition_an_event_and_a_queue_wait_beside_others():
    patched("""
event, queue, condition = context.Event(), context.JoinableQueue(), context.Condition()
def serve():
    assert event.wait(30)
    for _ in range(3):
        queue.get()
        queue.task_done()
    with condition:
        condition.notify_all()
serving = threading.Thread(target=serve)
with condition:
    serving.start()
    event.set()
    for number in range(3):
        queue.put(number)
    queue.join()
    assert condition.wait(30)
serving.join()
queue.close()
queue.join_thread()
""")


def test_a_pool_ends_while_its_worker_waits_for_work():
    patched("""
with context.Pool(1) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
    ticks = []
    threading.Timer(0, ticks.append, ["tick"]).start()
    assert pool.apply(divmod, (7, 2)) == (3, 1)
    assert ticks
pool.join()
""")


def test_handing_a_connection_to_another_process_blocks_no_signals():
    patched("""
import os, signal
from multiprocessing import resource_sharer
near, far = context.Pipe()
descriptor = resource_sharer.DupFd(near.fileno())  # which starts the thread that serves it
os.close(descriptor.detach())
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
resource_sharer.stop(timeout=5)
""")


def test_a_forked_child_waits_at_its_exit_for_nobody_who_is_not_there():
    patched("""
import os
go = threading.Event()
waiting = threading.Thread(target=go.wait)
waiting.start()
child = os.fork()
if child == 0:
    waiting.join()
    threading._shutdown()
    os._exit(10 + waiting.is_alive())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10
assert waiting.is_alive()
go.set()
waiting.join()
""")


def test_multiprocessing_works():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import multiprocessing, threading
        context = multiprocessing.get_context("spawn")
        near, far = context.Pipe()
        process = context.Process(target=print, args=("child",))
        process.start()
        process.join()
        assert process.exitcode == 0
        threading.Timer(0.01, far.send, ["piped"]).start()
        assert near.recv() == "piped"
    """)


def test_a_pool_of_processes_works_beside_an_event_loop_and_for_green_threads():
    program = """
        import greenserve
        if __name__ == "__main__":
            greenserve.monkey_patch()
        import asyncio, multiprocessing, threading
        from concurrent.futures import ProcessPoolExecutor

        async def main(pool):
            loop = asyncio.get_running_loop()
            return await asyncio.gather(*(loop.run_in_executor(pool, abs, -n) for n in range(5)))

        def tick():
            while True:
                ticks.append(1)
                greenserve.sleep(0.001)

        if __name__ == "__main__":
            ticks = []
            context = multiprocessing.get_context("forkserver")
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                assert asyncio.run(main(pool)) == [0, 1, 2, 3, 4]
                threading.Thread(target=tick, daemon=True).start()
                assert pool.submit(abs, -7).result(30) == 7
                assert list(pool.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
                assert ticks
    """
    run(program)
