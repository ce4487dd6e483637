"""local: attributes of one's own."""

from __future__ import annotations

import copy
import functools
import gc
import pickle
import threading
import types
import weakref

import pytest

from greenserve.hub import local, sleep, spawn


def test_each_green_thread_has_attributes_of_its_own(hub):
    data = local()
    data.x = "main"

    def work(name):
        with pytest.raises(AttributeError):
            data.x  # noqa: B018
        data.x = name
        sleep()
        return data.x

    threads = [spawn(work, n) for n in range(3)]
    assert [thread.wait() for thread in threads] == [0, 1, 2]
    assert data.x == "main"
    del data.x
    with pytest.raises(AttributeError):
        del data.x


def test_os_threads_have_their_own_too(hub):
    data, seen = local(), []
    data.x = "main"

    def work():
        seen.append(hasattr(data, "x"))
        data.x = 1
        seen.append(data.x)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, 1]
    assert data.x == "main"


def test_a_subclass_is_initialised_in_each_thread_with_the_same_arguments(hub):
    calls = []

    class Data(local):
        kind = "class attribute"

        def __init__(self, a, b=0):
            calls.append((a, b))
            self.sum = a + b

        def double(self):
            return self.sum * 2

        @property
        def read_only(self):
            return self.sum

    data = Data(1, b=2)
    assert calls == [(1, 2)]
    assert data.double() == 6
    data.sum = 100

    def work():
        assert data.sum == 3
        data.kind = "own"
        return data.kind, data.double(), data.read_only

    assert spawn(work).wait() == ("own", 6, 3)
    assert data.kind == "class attribute"
    assert calls == [(1, 2), (1, 2)]
    with pytest.raises(AttributeError):
        data.read_only = 5
    with pytest.raises(AttributeError):
        del data.read_only


def test_an_init_that_fails_is_called_again_at_the_next_use(hub):
    outcomes = iter([None, LookupError("first"), None])

    class Data(local):
        def __init__(self):
            outcome = next(outcomes)
            if outcome:
                raise outcome
            self.x = 1

    data = Data()

    def work():
        with pytest.raises(LookupError):
            data.x  # noqa: B018
        return data.x

    assert spawn(work).wait() == 1


def test_arguments_without_an_init_are_refused():
    with pytest.raises(TypeError):
        local(1)
    assert local()


def test_slots_of_a_subclass_are_shared_by_all(hub):
    class Data(local):
        __slots__ = ("shared",)

    data = Data()
    data.shared = 1
    data.own = 2
    assert spawn(lambda: (data.shared, hasattr(data, "own"))).wait() == (1, False)
    del data.shared
    assert not hasattr(data, "shared")


def test_dict_is_the_threads_and_cannot_be_replaced(hub):
    data = local()
    data.x = 1
    assert data.__dict__ == {"x": 1}
    assert spawn(lambda: data.__dict__).wait() == {}
    with pytest.raises(AttributeError):
        data.__dict__ = {}
    with pytest.raises(AttributeError):
        del data.__dict__


class Thing:
    pass


def test_data_dies_with_its_thread(hub):
    data, thing = local(), Thing()
    alive = weakref.ref(thing)

    def work(thing):
        data.thing = thing
        sleep()

    thread = spawn(work, thing)
    sleep()
    del thing
    assert alive() is not None
    thread.wait()
    sleep()
    assert alive() is None


def test_data_dies_with_its_local_while_the_thread_lives(hub):
    data, thing = local(), Thing()
    data.thing = thing
    alive = weakref.ref(thing)
    del thing, data
    gc.collect()
    assert alive() is None


def test_a_callback_of_the_hub_has_its_own(hub):
    data, seen = local(), []
    data.x = 1

    def callback():
        seen.append(hasattr(data, "x"))
        data.x = 2
        seen.append(data.x)

    hub.call_soon(callback)
    sleep()
    assert seen == [False, 2]
    assert data.x == 1


def test_many_short_threads_leave_nothing_in_a_local(hub):
    data = local()

    def work():
        data.x = 1

    for _ in range(100):
        spawn(work).wait()
    gc.collect()
    from greenserve.hub.sync.local import _key_of

    assert len(_key_of(data).threads) <= 1


class Deletable:
    """A data descriptor by its `__delete__` alone."""

    def __get__(self, instance, owner=None):
        return "got"

    def __delete__(self, instance):
        pass


def kinds(base):
    """Subclasses of a `local` with all that a class can have of its own."""

    class Slotted(base):
        __slots__ = ("number",)

    class Propertied(base):
        fixed = property(lambda self: 5)
        plain = 3
        deletable = Deletable()

        def __init__(self, x=1):
            self._x = x

        @property
        def x(self):
            return self._x

        @x.setter
        def x(self, value):
            self._x = value

        def method(self):
            return "method"

        cached = functools.cached_property(lambda self: [1])

    class Hooked(base):
        def __getattr__(self, name):
            return f"no {name}"

    class Copied(base):
        def __copy__(self):
            made = type(self)()
            vars(made).update(vars(self))
            return made

    class Reduced(base):
        def __reduce__(self):
            return (dict, ())

    class Plain(base):
        pass

    return types.SimpleNamespace(**{kind.__name__: kind for kind in base.__subclasses__()[-6:]}, base=base)


def into_dict(thing, **attributes):
    vars(thing).update(attributes)
    return thing


def outcome(action, thing):
    try:
        return action(thing)
    except Exception as error:
        return type(error)


def same(make, *actions):
    def script(kinds):
        thing = make(kinds)
        return [outcome(action, thing) for action in actions]

    return script


SCRIPTS = {
    **{
        f"copies of {name}": same(
            lambda kinds, name=name: getattr(kinds, name)(),
            copy.copy,
            copy.deepcopy,
            *(functools.partial(pickle.dumps, protocol=protocol) for protocol in range(6)),
        )
        for name in ("base", "Plain", "Slotted", "Propertied")
    },
    "a copy of its own": same(
        lambda kinds: into_dict(kinds.Copied(), x=1), lambda thing: vars(copy.copy(thing)), copy.deepcopy
    ),
    "a reduction of its own": same(lambda kinds: kinds.Reduced(), copy.copy, copy.deepcopy),
    "a slot": same(
        lambda kinds: kinds.Slotted(),
        lambda thing: setattr(thing, "number", 1),
        lambda thing: into_dict(thing, number=7).number,
        lambda thing: delattr(thing, "number"),
        lambda thing: thing.number,
        lambda thing: hasattr(thing, "number"),
        lambda thing: delattr(thing, "number"),
        lambda thing: setattr(thing, "other", 1),
        vars,
        dir,
    ),
    "properties": same(
        lambda kinds: into_dict(kinds.Propertied(3), x="dict", fixed=9, deletable=1, plain=4),
        lambda thing: (thing.x, thing.fixed, thing.deletable, thing.plain),
        lambda thing: setattr(thing, "fixed", 1),
        lambda thing: setattr(thing, "deletable", 1),
        lambda thing: delattr(thing, "fixed"),
        lambda thing: delattr(thing, "x"),
        lambda thing: delattr(thing, "deletable"),
        lambda thing: delattr(thing, "plain"),
        lambda thing: delattr(thing, "plain"),
        lambda thing: thing.plain,
        vars,
        dir,
    ),
    "methods": same(
        lambda kinds: kinds.Propertied(),
        lambda thing: thing.method(),
        lambda thing: setattr(thing, "method", 5),
        lambda thing: thing.method,
        lambda thing: delattr(thing, "method"),
        lambda thing: thing.method(),
        lambda thing: (thing.cached, thing.cached is thing.cached, vars(thing)),
    ),
    "a __getattr__": same(
        lambda kinds: kinds.Hooked(),
        lambda thing: thing.foo,
        lambda thing: setattr(thing, "foo", 1),
        lambda thing: thing.foo,
        lambda thing: delattr(thing, "bar"),
    ),
    "another class": same(
        lambda kinds: (into_dict(kinds.Plain(), foo=1, x=2), kinds),
        lambda both: setattr(both[0], "__class__", both[1].Propertied),
        lambda both: (both[0].foo, both[0].fixed, both[0].method()),
        lambda both: both[0].x,
    ),
    "what is wrong": same(
        lambda kinds: kinds.base(),
        lambda thing: thing.missing,
        lambda thing: delattr(thing, "missing"),
        lambda thing: setattr(thing, "__dict__", {}),
        lambda thing: delattr(thing, "__dict__"),
        lambda thing: type(thing)(1),
        lambda thing: type(thing)(a=1),
        vars,
    ),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_it_answers_as_the_standard_librarys(script, hub):
    def told(base):
        return [answer if not isinstance(answer, list) else sorted(set(answer) - INNER) for answer in script(base)]

    assert told(kinds(local)) == told(kinds(threading.local))


INNER = {"__slots__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__", "__slotnames__"}
