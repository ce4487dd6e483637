"""In a patched program a loop that asks in vain lets the other threads run, as with OS threads."""

from __future__ import annotations

import pytest

from tests.hub.support import run

START = """
    import greenserve
    greenserve.monkey_patch()
    import concurrent.futures, multiprocessing, os, queue, select, selectors, signal, socket, subprocess, sys
    import threading, time

    def later(function, *args):
        threading.Timer(0.02, function, args).start()

    def fails(kind, function, *args):
        try:
            function(*args)
        except kind:
            return True
        return False

    def spin(question):
        deadline = time.monotonic() + 20
        while not question():
            assert time.monotonic() < deadline, "starved"
"""

LOOPS = {
    "Lock": "lock = threading.Lock(); lock.acquire(); later(lock.release); spin(lambda: lock.acquire(False))",
    "Thread.is_alive": "thread = threading.Thread(target=time.sleep, args=(0.02,)); thread.start()\n"
    "spin(lambda: not thread.is_alive())",
    "Thread.join(0)": "thread = threading.Thread(target=time.sleep, args=(0.02,)); thread.start()\n"
    "spin(lambda: (thread.join(0), not thread.is_alive())[1])",
    "threading.active_count": "later(int); spin(lambda: threading.active_count() == 1)",
    "threading.enumerate": "later(int); spin(lambda: len(threading.enumerate()) == 1)",
    "Event.is_set": "event = threading.Event(); later(event.set); spin(event.is_set)",
    "Event.wait(0)": "event = threading.Event(); later(event.set); spin(lambda: event.wait(0))",
    "Queue.get_nowait": "things = queue.Queue(); later(things.put, 1)\n"
    "spin(lambda: not fails(queue.Empty, things.get_nowait))",
    "Queue.get(timeout=0)": "things = queue.LifoQueue(); later(things.put, 1)\n"
    "spin(lambda: not fails(queue.Empty, things.get, True, 0))",
    "Queue.put_nowait": "things = queue.Queue(1); things.put(1); later(things.get)\n"
    "spin(lambda: not fails(queue.Full, things.put_nowait, 2))",
    "Queue.empty": "things = queue.PriorityQueue(); later(things.put, 1); spin(lambda: not things.empty())",
    "Queue.qsize": "things = queue.Queue(); things.put(1); later(things.get); spin(lambda: things.qsize() == 0)",
    "Queue.full": "things = queue.Queue(1); later(things.put, 1); spin(things.full)",
    "SimpleQueue": "things = queue.SimpleQueue(); later(things.put, 1); spin(lambda: not things.empty())",
    "Future.done": "future = concurrent.futures.ThreadPoolExecutor(1).submit(time.sleep, 0.02); spin(future.done)",
    "Future.running": "future = concurrent.futures.ThreadPoolExecutor(1).submit(time.sleep, 0.02)\n"
    "spin(future.running); spin(lambda: not future.running())",
    "recv": "a, b = socket.socketpair(); a.setblocking(False); later(b.send, b'x')\n"
    "spin(lambda: not fails(BlockingIOError, a.recv, 1))",
    "recv_into": "a, b = socket.socketpair(); a.settimeout(0); later(b.send, b'x')\n"
    "spin(lambda: not fails(BlockingIOError, a.recv_into, bytearray(1)))",
    "MSG_DONTWAIT": "a, b = socket.socketpair(); later(b.send, b'x')\n"
    "spin(lambda: not fails(BlockingIOError, a.recv, 1, socket.MSG_DONTWAIT))",
    "send": "a, b = socket.socketpair(); a.setblocking(False)\n"
    "while not fails(BlockingIOError, a.send, bytes(65536)): pass\n"
    "later(b.recv, 1 << 24); spin(lambda: not fails(BlockingIOError, a.send, b'x'))",
    "accept": "listener = socket.create_server(('127.0.0.1', 0)); listener.setblocking(False)\n"
    "later(socket.create_connection, listener.getsockname())\n"
    "spin(lambda: not fails(BlockingIOError, listener.accept))",
    "makefile": "a, b = socket.socketpair(); a.setblocking(False); file = a.makefile('rb', 0); later(b.send, b'x')\n"
    "spin(lambda: file.read(1))",
    "select": "a, b = socket.socketpair(); later(b.send, b'x'); spin(lambda: select.select([a], [], [], 0)[0])",
    "poll": "a, b = socket.socketpair(); later(b.send, b'x'); poll = select.poll(); poll.register(a, select.POLLIN)\n"
    "spin(lambda: poll.poll(0))",
    "epoll": "a, b = socket.socketpair(); later(b.send, b'x'); poll = select.epoll()\n"
    "poll.register(a, select.EPOLLIN); spin(lambda: poll.poll(0))",
    "selectors": "a, b = socket.socketpair(); later(b.send, b'x'); selector = selectors.DefaultSelector()\n"
    "selector.register(a, selectors.EVENT_READ); spin(lambda: selector.select(0))",
    "os.read": "r, w = os.pipe(); os.set_blocking(r, False); later(os.write, w, b'x')\n"
    "spin(lambda: not fails(BlockingIOError, os.read, r, 1))",
    "os.write": "r, w = os.pipe(); os.set_blocking(w, False)\n"
    "while not fails(BlockingIOError, os.write, w, bytes(4096)): pass\n"
    "later(os.read, r, 65536); spin(lambda: not fails(BlockingIOError, os.write, w, b'x'))",
    "a child's pipe": "child = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
    "os.set_blocking(child.stdout.fileno(), False); later(child.communicate, b'x')\n"
    "spin(lambda: child.stdout.closed or child.stdout.read(1) or child.poll() is not None); child.kill()",
    "Popen.poll": "ran = []; later(ran.append, 1); child = subprocess.Popen(['sleep', '0.05'])\n"
    "spin(lambda: child.poll() is not None); assert ran",
    "waitpid": "ran = []; later(ran.append, 1); child = subprocess.Popen(['sleep', '0.05'])\n"
    "spin(lambda: os.waitpid(child.pid, os.WNOHANG)[0]); child.returncode = 0; assert ran",
    "wait4": "ran = []; later(ran.append, 1); child = subprocess.Popen(['sleep', '0.05'])\n"
    "spin(lambda: os.wait4(child.pid, os.WNOHANG)[0]); child.returncode = 0; assert ran",
    "waitid": "ran = []; later(ran.append, 1); child = subprocess.Popen(['sleep', '0.05'])\n"
    "spin(lambda: os.waitid(os.P_PID, child.pid, os.WNOHANG | os.WEXITED)); child.returncode = 0; assert ran",
    "multiprocessing.Process": "ran = []; later(ran.append, 1)\n"
    "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(0.05,)); child.start()\n"
    "spin(lambda: not child.is_alive()); assert ran",
    "multiprocessing.Lock": "lock = multiprocessing.Lock(); lock.acquire(); later(lock.release)\n"
    "spin(lambda: lock.acquire(False))",
    "multiprocessing.Event": "event = multiprocessing.Event(); later(event.set); spin(event.is_set)",
    "multiprocessing.Queue": "things = multiprocessing.Queue(); later(things.put, 1)\n"
    "spin(lambda: not fails(queue.Empty, things.get_nowait))",
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
def test_a_loop_that_asks_in_vain_lets_other_threads_run(loop):
    lines = "".join(f"    {line}\n" for line in loop.splitlines())
    run(f"{START}{lines}    sys.stdout.flush(); os._exit(0)\n")


def test_the_twins_of_an_unpatched_program_let_others_run_too():
    run(
        """
        import time
        from greenserve.green import queue, threading

        def spin(question):
            deadline = time.monotonic() + 20
            while not question():
                assert time.monotonic() < deadline, "starved"

        things = queue.Queue()
        threading.Timer(0.02, things.put, (1,)).start()
        spin(lambda: not things.empty())
        threading.Timer(0.02, int).start()
        spin(lambda: threading.active_count() == 1)
        """
    )
