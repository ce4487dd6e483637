"""Monkey-patching, each case in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

LOCALHOST = str(Path(__file__).parent.parent / "certificates" / "localhost.pem")


def run(program):
    """Run a program; it fails by raising. Returns what it wrote on standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_importing_greenserve_patches_nothing():
    run("""
        import select, selectors, socket, time
        before = [dict(vars(m)) for m in (select, selectors, socket, time)]
        import greenserve
        assert before == [dict(vars(m)) for m in (select, selectors, socket, time)]
        assert not greenserve.is_monkey_patched("socket")
    """)


def test_patching_makes_blocking_code_concurrent():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import socket, time
        from greenserve.hub import spawn
        order = []
        def slow():
            time.sleep(0.02)
            order.append("slow")
        def quick():
            left, right = socket.socketpair()
            spawn(right.send, b"x")
            left.recv(1)
            order.append("quick")
        threads = [spawn(slow), spawn(quick)]
        for thread in threads:
            thread.wait()
        assert order == ["quick", "slow"], order
        assert greenserve.is_monkey_patched("socket") and greenserve.is_monkey_patched("selectors")
    """)


def test_twice_is_harmless_and_the_originals_stay_at_hand():
    run("""
        import socket, time
        real = socket.socket, time.sleep
        import greenserve
        greenserve.monkey_patch()
        green = socket.socket, time.sleep
        greenserve.monkey_patch()
        assert (socket.socket, time.sleep) == green != real
        assert (greenserve.original("socket").socket, greenserve.original("time").sleep) == real
        assert issubclass(socket.socket, real[0])
    """)


def test_one_may_choose():
    run("""
        import greenserve
        greenserve.monkey_patch(time=True)
        assert greenserve.is_monkey_patched("time") and not greenserve.is_monkey_patched("socket")
        greenserve.monkey_patch(socket=False)
        assert greenserve.is_monkey_patched("select") and not greenserve.is_monkey_patched("socket")
        try:
            greenserve.monkey_patch(sockets=True)
        except ValueError as error:
            raise
        except Exception as error:
            assert "sockets" in str(error)
    """)


def test_patching_late_warns_and_names_the_holder():
    _, stderr = run("""
        import sys, types
        module = types.ModuleType("early")
        exec("from time import sleep", vars(module))
        sys.modules["early"] = module
        import greenserve
        greenserve.monkey_patch()
    """)
    assert "LatePatchWarning" in stderr
    assert "early.sleep (time.sleep)" in stderr


def test_patching_in_time_does_not_warn():
    _, stderr = run("""
        import greenserve
        greenserve.monkey_patch()
    """)
    assert stderr == ""


def test_patched_tls_is_green_for_contexts_that_exist_already():
    run(f"""
        import ssl
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain({LOCALHOST!r})
        import greenserve
        greenserve.monkey_patch()
        import http.client, socket
        from greenserve.hub import spawn
        client = ssl.create_default_context(cafile={LOCALHOST!r})
        client.minimum_version = ssl.TLSVersion.TLSv1_2
        listener = socket.create_server(("127.0.0.1", 0))
        def serve():
            while True:
                connection, _ = listener.accept()
                with server.wrap_socket(connection, server_side=True) as tls:
                    assert isinstance(tls, ssl.SSLSocket)
                    tls.recv(10000)
                    tls.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nhi")
        spawn(serve)
        port = listener.getsockname()[1]
        connection = http.client.HTTPSConnection("localhost", port, context=client)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hi"
        connection.close()
        import requests
        assert requests.get(f"https://localhost:{{port}}/", verify={LOCALHOST!r}).text == "hi"
    """)


def test_what_raises_when_it_is_looked_at_does_not_stop_a_late_patch():
    run("""
        import threading
        class Proxy:  # such as a framework's stand-in for the request, when there is none
            __dict__ = property(lambda self: 1 / 0)
        class Holder:
            pass
        proxy, holder = Proxy(), Holder()
        holder.lock = threading.Lock()
        import greenserve
        greenserve.monkey_patch()
        assert type(holder.lock) is threading.Lock
        assert greenserve.patching.existing_locks.original_locks() == []
    """)


NASTY = """
        import threading
        def angry(*_):
            raise KeyboardInterrupt("looked at")
        class Null:  # the null-object pattern
            __slots__ = ()
            def __getattr__(self, name):
                return None
        class NoMapping:
            __slots__ = ()
            __dict__ = property(lambda self: None)
        class Angry:
            __dict__ = __class__ = __module__ = property(angry)
            __getattribute__ = __getattr__ = __eq__ = __hash__ = __bool__ = __len__ = angry
        class Odd(dict):
            items = values = keys = get = __iter__ = __getitem__ = __eq__ = angry
        class Dressed:
            def __init__(self):
                self.__dict__ = Odd(lock=threading.Lock())
        class Meta(type):
            __getattribute__ = __eq__ = __hash__ = __instancecheck__ = __subclasscheck__ = angry
            __module__ = __dict__ = __mro__ = __flags__ = property(angry)
        class Angrier(metaclass=Meta):
            lock = threading.Lock()
        class Strict:  # such as a frozen dataclass
            def __init__(self):
                self.__dict__["lock"] = threading.Lock()
            __setattr__ = angry
        class Base:
            __slots__ = ("lock", "empty")
        class Slotted(Base):
            __slots__ = ("__own", "__dict__")
            def __init__(self):
                self.lock, self.__own, self.other = threading.Lock(), threading.RLock().acquire, threading.Lock()
            def locks(self):
                return [type(self.lock), type(self.__own.__self__), type(self.other)]
        keep = [Null(), NoMapping(), Angry(), Dressed(), Angrier, Angrier(), Strict(), Slotted()]
        import sys, types
        class Module(types.ModuleType):
            __dict__ = property(angry)
            def __getattribute__(self, name):
                raise KeyboardInterrupt(name)
        sys.modules["angry"], sys.modules["null"], sys.modules["nothing"] = Module("angry"), keep[0], None
        sys.modules["lazy"] = keep[2]
"""


def test_no_object_of_the_programs_is_asked_anything_by_a_late_patch():
    _, stderr = run(
        NASTY
        + """
        import greenserve
        greenserve.monkey_patch()
        lock = type(threading.Lock())
        assert type(object.__getattribute__(keep[6], "__dict__")["lock"]) is lock
        assert type(type.__dict__["__dict__"].__get__(Angrier)["lock"]) is lock
        assert keep[7].locks() == [lock, threading.RLock, lock], keep[7].locks()
        assert greenserve.patching.existing_locks.original_locks() == []
    """
    )
    assert stderr == ""


def test_a_real_lock_in_a_slot_that_is_held_is_named():
    _, stderr = run("""
        import threading
        class Slotted:
            __slots__ = ("lock",)
        slotted = Slotted()
        slotted.lock = threading.Lock()
        slotted.lock.acquire()
        import greenserve
        greenserve.monkey_patch()
        assert greenserve.patching.existing_locks.original_locks() == ["__main__.Slotted.lock"]
    """)
    assert "__main__.Slotted.lock (held)" in stderr


def test_attributes_of_classes_and_defaults_of_functions_are_found_late_too():
    _, stderr = run("""
        import multiprocessing.connection, os, sys, time, types
        early = types.ModuleType("early")
        exec('''if True:
            import os, time
            class Reader:
                read = os.read
            def wait(seconds, sleep=time.sleep, *, again=time.sleep):
                sleep(seconds)
                again(seconds)''', vars(early))
        sys.modules["early"] = early
        import greenserve
        greenserve.monkey_patch()
        from greenserve.hub import spawn
        assert multiprocessing.connection.Connection._read is os.read
        mine, other = multiprocessing.connection.Pipe()
        spawn(other.send, "a message")
        assert mine.recv() == "a message"
        log = []
        spawn(log.append, "others run")
        early.wait(0.001)
        assert log == ["others run"]
        import selectors, greenserve
        real = greenserve.original("selectors")
        assert real.PollSelector._selector_cls is not selectors.PollSelector._selector_cls
    """)
    assert "early.Reader.read (os.read)" in stderr
    assert "wait" not in stderr


def test_a_patched_call_tells_of_a_closed_descriptor_at_once():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import errno, os, select
        reader, writer = os.pipe()
        os.close(reader)  # the first number that is free
        try:
            select.select([reader], [], [], 0)
        except OSError as error:
            assert error.errno == errno.EBADF
        else:
            raise AssertionError("the hub has taken the number")
    """)
