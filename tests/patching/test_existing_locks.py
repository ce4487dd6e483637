"""What was made before the patch: locks, and attributes and defaults that hold originals."""

from __future__ import annotations

from tests.patching.programs import run


def test_loggings_locks_are_upgraded():
    run("""
        import logging
        handler = logging.StreamHandler()
        import greenserve
        greenserve.monkey_patch()
        import threading
        kind = type(threading.RLock())
        assert type(logging._lock) is kind
        assert type(handler.lock) is kind
    """)


def test_a_held_rlock_goes_over_to_its_successor():
    run("""
        import threading
        class Holder: pass
        holder = Holder()
        holder.lock = threading.RLock()
        holder.condition = threading.Condition(holder.lock)
        holder.lock.acquire()
        holder.lock.acquire()
        import greenserve
        greenserve.monkey_patch()
        assert type(holder.lock) is type(threading.RLock())
        holder.condition.notify_all()
        holder.lock.release()
        holder.condition.release()
        try:
            holder.lock.release()
        except RuntimeError:
            pass
        else:
            raise AssertionError("it was held twice")
    """)


def test_an_rlock_entered_by_with_is_left_by_with():
    run("""
        import threading
        class Holder: pass
        holder = Holder()
        holder.lock = threading.RLock()
        import greenserve
        with holder.lock:
            greenserve.monkey_patch()
        assert holder.lock.acquire(False)
        holder.lock.release()
        from greenserve.hub import spawn
        assert spawn(holder.lock.acquire, False).wait()
    """)


def test_a_held_lock_is_left_and_named():
    _, stderr = run("""
        import threading
        class Holder: pass
        holder = Holder()
        holder.lock = threading.Lock()
        holder.lock.acquire()
        import greenserve
        greenserve.monkey_patch()
        holder.lock.release()
    """)
    assert "Holder.lock (held)" in stderr


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
