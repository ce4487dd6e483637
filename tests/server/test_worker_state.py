"""A worker's way from serving to stopped, with a drain delay and without: in virtual time first, then with clients."""

from __future__ import annotations

import itertools
import threading

import pytest

import greenserve
from greenserve import testing
from greenserve.hub.core.hub import current_hub
from greenserve.server.connection import Connection
from greenserve.server.phases import Phase
from greenserve.server.server import Server
from greenserve.server.worker import Worker
from greenserve.server.worker_state import NEXT, WorkerState
from greenserve.settings import Settings
from tests.server.live import Client, hello, serving

SERVING, LAME_DUCK, DRAINING, STOPPED = WorkerState


class Busy(Worker):
    """A worker whose requests in progress take `draining_takes` seconds."""

    def _stop_if_empty(self):
        if self.draining_takes:
            self.hub.call_later(self.draining_takes, self._stop)
        else:
            self._stop()


class Life:
    """A worker without sockets, in virtual time, that is told things at certain seconds; what it said of its states."""

    def __init__(self, *told, draining_takes=0.0):
        self.states = []
        self.called = []
        with testing.virtual_time() as clock:
            hub = current_hub()
            self.worker = Busy(hub, hello, Settings(), on_state=lambda state: self.states.append((state, clock())))
            self.worker.draining_takes = draining_takes
            for at, name, *args in told:
                hub.call_later(at, getattr(self, name, None) or getattr(self.worker, name), *args)
            self.worker.run([])

    def delay(self, seconds):
        self.worker.become_lame_duck(seconds, self.over)

    def over(self):
        self.called.append("over")
        self.worker.drain()


def test_a_lame_duck_drains_when_its_time_is_over():
    life = Life((10, "delay", 5.0))
    assert life.states == [(LAME_DUCK, 10), (DRAINING, 15), (STOPPED, 15)]
    assert life.called == ["over"]


def test_draining_may_begin_before_the_delay_is_over():
    life = Life((10, "delay", 5.0), (12, "drain"), draining_takes=20)
    assert life.states == [(LAME_DUCK, 10), (DRAINING, 12), (STOPPED, 32)]
    assert life.called == [], "the delay is forgotten"


def test_what_is_forced_as_a_lame_duck_is_over_soon():
    life = Life((10, "delay", 50.0), (12, "force", "of the test"), draining_takes=20)
    assert life.states == [(LAME_DUCK, 10), (DRAINING, 12), (STOPPED, 13)]


def test_without_a_delay_there_is_no_lame_duck():
    assert Life((10, "drain")).states == [(DRAINING, 10), (STOPPED, 10)]


def test_draining_twice_is_draining_once():
    life = Life((10, "drain"), (11, "drain"), draining_takes=5)
    assert life.states == [(DRAINING, 10), (STOPPED, 15)]


@pytest.mark.parametrize(("before", "after"), list(itertools.product(WorkerState, repeat=2)))
def test_a_worker_goes_on_as_the_table_says_and_never_back(before, after):
    worker = Worker(current_hub(), hello, Settings())
    worker.state = before
    if after in NEXT[before]:
        worker._enter(after)
        assert list(WorkerState).index(after) > list(WorkerState).index(before)
    else:
        with pytest.raises(AssertionError, match="is not followed by"):
            worker._enter(after)


class Upgraded(Connection):
    """A connection that is a WebSocket's, and the WebSocket itself: it ends when it is told to, and keeps when."""

    def __init__(self, worker, clock):
        self.worker, self.clock, self.owner = worker, clock, self
        self.cycle = self.greenlet = None
        self.phase = Phase.UPGRADED
        self.peer_address = ""
        worker.enter(self)

    __hash__ = object.__hash__

    def drain(self, *, restarting):
        if self in self.worker.connections:
            self.told = self.clock(), restarting
            self.worker.forget(self)

    def close(self):
        self.told = None
        self.worker.forget(self)


def ends_of_websockets(count, *, restarting=True, late=0.0, **options):
    """When each was told, in seconds from the beginning of the end, and whether another worker takes over.

    late: seconds after which there is one more.
    """
    with testing.virtual_time() as clock:
        hub = current_hub()
        worker = Worker(hub, hello, Settings(**options))
        begun = clock()
        sockets = [Upgraded(worker, clock) for _ in range(count)]
        if late:
            hub.call_later(late, lambda: sockets.append(Upgraded(worker, clock)))
        hub.call_later(0, lambda: worker.drain(restarting=restarting))
        worker.run([])
        return sorted((round(each.told[0] - begun, 6), each.told[1]) for each in sockets)


def test_the_websockets_of_a_worker_that_is_replaced_end_evenly_over_the_time_for_that():
    assert ends_of_websockets(4, drain_spread=8.0) == [(0, True), (2, True), (4, True), (6, True)]


def test_that_time_leaves_half_of_the_grace_for_the_end_itself():
    assert ends_of_websockets(4, drain_spread=60.0, graceful_timeout=8.0) == [
        (0, True),
        (1, True),
        (2, True),
        (3, True),
    ]


@pytest.mark.parametrize(("restarting", "spread"), [(True, 0.0), (False, 8.0)])
def test_without_such_a_time_or_a_successor_all_end_at_once(restarting, spread):
    assert ends_of_websockets(3, restarting=restarting, drain_spread=spread) == [(0, restarting)] * 3


def test_a_websocket_that_begins_meanwhile_ends_with_the_last():
    assert ends_of_websockets(2, late=1.0, drain_spread=4.0) == [(0, True), (2, True), (4, True)]


def tell(server: Server, name: str, *args: object) -> None:
    """Have the server's worker do something, in its own thread, and wait until it has."""
    worker, done = server._worker, threading.Event()
    assert worker is not None

    def do() -> None:
        getattr(worker, name)(*args)
        done.set()

    worker.hub.call_soon_threadsafe(do)
    assert done.wait(10)


def ask(client: Client) -> tuple[int, str, bytes]:
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    status, fields, body = client.response()
    return status, fields.get("connection", ""), body


def test_a_lame_duck_answers_old_and_new_connections_each_request_being_the_last():
    with serving(hello) as server, Client(server) as old:
        assert ask(old) == (200, "", b"hello")
        tell(server, "become_lame_duck", 600.0, lambda: None)
        for _ in range(3):
            with Client(server) as new:
                assert ask(new) == (200, "close", b"hello")
                assert new.at_end()
        assert ask(old) == (200, "close", b"hello"), "an idle connection is not closed before its next request"
        assert old.at_end()


def test_a_request_in_progress_is_the_last_if_its_client_can_still_be_told():
    arrived, go_on = threading.Event(), greenserve.Event()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/begun":
            yield b"begun, "
        arrived.set()
        go_on.wait()
        yield b"over"

    with serving(application) as server, Client(server) as untold, Client(server) as begun:
        for client, path in ((untold, "/"), (begun, "/begun")):
            client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert arrived.wait(10)
            arrived.clear()
        tell(server, "become_lame_duck", 600.0, lambda: None)
        worker = server._worker
        assert worker is not None
        worker.hub.call_soon_threadsafe(go_on.send)
        status, fields, body = untold.response()
        assert (status, fields["connection"], body) == (200, "close", b"over")
        assert untold.at_end()
        status, fields, body = begun.response()
        assert (status, fields.get("connection"), body) == (200, None, b"begun, over")
        assert ask(begun) == (200, "close", b"over"), "it was promised that it may send another request"
        assert begun.at_end()


def test_a_request_that_was_promised_before_a_restart_is_served_after_it():
    go_on = greenserve.Event()

    class Response(list):
        def close(self):  # the response has left, and its request is still in progress
            go_on.wait()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return Response([b"over"])

    with serving(application) as server, Client(server) as client:
        assert ask(client) == (200, "", b"over")
        worker = server._worker
        assert worker is not None
        worker.hub.call_soon_threadsafe(lambda: worker.drain(restarting=True))
        worker.hub.call_soon_threadsafe(go_on.send)
        assert ask(client) == (200, "close", b"over")
        assert client.at_end()


def test_applications_learn_of_the_end_when_draining_begins():
    flags = []

    def application(environ, start_response):
        flags.append(environ["greenserve.stopping"])
        return hello(environ, start_response)

    with serving(application) as server, Client(server) as client:
        tell(server, "become_lame_duck", 600.0, lambda: None)
        assert ask(client) == (200, "close", b"hello")
        assert not flags[0].is_set()
    assert flags[0].is_set()
