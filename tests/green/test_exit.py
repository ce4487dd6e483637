"""What finalisers find while the interpreter ends, when the greenlet library has closed already."""

from __future__ import annotations

from tests.patching.programs import run


def test_finalisers_may_log_lock_write_and_ask_who_they_are():
    out, error = run("""
        import greenserve
        greenserve.monkey_patch()
        import logging, os, queue, sys, threading, time

        class Last:
            def __init__(self):
                self.handler = logging.StreamHandler()  # logging's own finaliser takes a lock
                self.lock, self.rlock = threading.Lock(), threading.RLock()
                self.local, self.queue, self.write = threading.local(), queue.Queue(), os.write
                self.event, self.current, self.sleep = threading.Event(), threading.get_ident, time.sleep

            def __del__(self):
                with self.lock, self.rlock, self.rlock:
                    self.local.word = b"said\\n"
                    self.queue.put(self.local.word)
                    self.event.set()
                    assert self.event.wait(1)
                    assert self.current() > 0
                self.write(1, self.queue.get())

        last = Last()
        last.itself = last  # only the last collection finds it
        del last
        sys.modules["kept by nobody"] = None
    """)
    assert (out, error) == ("said\n", "")


def test_it_ends_as_quietly_with_an_uncaught_error():
    out, error = run("""
        import greenserve
        greenserve.monkey_patch()
        import logging
        handler = logging.StreamHandler()
        def hold():
            handler.mine = handler  # a cycle, and a frame
        hold()
        import atexit
        atexit.register(print, "at the end")
    """)
    assert (out, error) == ("at the end\n", "")


def test_a_server_in_the_background_whose_application_has_a_thread_pool():
    for _ in range(3):
        out, error = run("""
            import greenserve
            greenserve.monkey_patch()
            import urllib.request
            from concurrent.futures import ThreadPoolExecutor
            executor = ThreadPoolExecutor(8)
            def app(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [str(number).encode() for number in executor.map(abs, [-1, -2, -3])]
            for _ in range(2):  # two servers, one after the other
                with greenserve.Server(app, bind="127.0.0.1:0") as server:
                    print(urllib.request.urlopen(server.url, timeout=10).read())
        """)
        assert (out, error) == ("b'123'\n" * 2, "")
