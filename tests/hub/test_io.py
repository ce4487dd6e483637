"""File descriptors, with every poller that this platform has: waits, closes, reused numbers, callbacks."""

from __future__ import annotations

import errno
import os
import socket
import struct
import tempfile
from collections.abc import Iterator

import pytest

from greenserve.errors import AlreadyWaiting
from greenserve.hub import Timeout, sleep, spawn, use_hub
from greenserve.hub.core import poller
from greenserve.hub.core.hub import Hub, HubCall
from greenserve.hub.core.poller import READ, SelectPoller
from tests.hub.support import VirtualTime

POLLERS = [getattr(poller, name) for name in ("EpollPoller", "KqueuePoller", "SelectPoller") if hasattr(poller, name)]


@pytest.fixture(params=POLLERS, ids=lambda kind: kind.__name__)
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    yield use_hub(Hub(poller=request.param()))
    use_hub(Hub())


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            pass


def ebadf(error: pytest.ExceptionInfo[OSError]) -> bool:
    return error.value.errno == errno.EBADF


def fill(sock: socket.socket) -> None:
    try:
        while True:
            sock.send(b"x" * 65536)
    except BlockingIOError:
        pass


def test_a_wait_ends_when_there_is_something_to_read(hub: Hub, pair):
    left, right = pair
    descriptor = hub.io.register(left.fileno())

    def read() -> bytes:
        hub.io.wait_read(descriptor)
        return left.recv(10)

    for _ in range(3):
        thread = spawn(read)
        sleep(0)
        right.send(b"hello")
        assert thread.wait() == b"hello"


def test_an_event_that_came_before_the_wait_is_not_needed(hub: Hub, pair):
    """Whoever waits has got EAGAIN first; the bytes that come after that are an event of their own."""
    left, right = pair
    descriptor = hub.io.register(left.fileno())
    right.send(b"early")
    sleep(0.001)
    assert left.recv(10) == b"early"
    thread = spawn(hub.io.wait_read, descriptor)
    sleep(0)
    assert not thread.dead
    right.send(b"late")
    thread.wait()


def test_a_deadline_raises_timeout_error_and_the_descriptor_lives_on(hub: Hub, pair):
    left, right = pair
    descriptor = hub.io.register(left.fileno())
    fill(left)
    for wait in (hub.io.wait_read, hub.io.wait_write):
        with pytest.raises(TimeoutError):
            wait(descriptor, hub.clock() + 0.001)
    assert hub.timers.next_deadline() is None
    thread = spawn(hub.io.wait_read, descriptor, hub.clock() + 10)
    sleep(0)
    right.send(b"x")
    thread.wait()
    assert hub.timers.next_deadline() is None


def test_a_reader_and_a_writer_at_once(hub: Hub, pair):
    left, right = pair
    fill(left)
    descriptor = hub.io.register(left.fileno())
    reader = spawn(hub.io.wait_read, descriptor)
    writer = spawn(hub.io.wait_write, descriptor)
    sleep(0.001)
    assert (reader.dead, writer.dead) == (False, False)
    right.send(b"x")
    reader.wait()
    assert not writer.dead
    while True:
        try:
            right.recv(1 << 20)
        except BlockingIOError:
            break
    writer.wait()


@pytest.mark.parametrize("side", ["read", "write"])
def test_a_second_waiter_is_refused_at_once(hub: Hub, pair, side):
    left, _ = pair
    fill(left)
    descriptor = hub.io.register(left.fileno())
    wait = getattr(hub.io, f"wait_{side}")
    first = spawn(wait, descriptor)
    sleep(0)
    with pytest.raises(AlreadyWaiting, match=f"already waits to {side}"):
        wait(descriptor)
    assert not first.dead
    first.kill()
    with pytest.raises(TimeoutError):  # the place is free again
        wait(descriptor, hub.clock())


def test_a_killed_and_a_timed_out_waiter_leave_their_place(hub: Hub, pair):
    left, _ = pair
    descriptor = hub.io.register(left.fileno())
    with Timeout(0.001, False):
        hub.io.wait_read(descriptor)
    thread = spawn(hub.io.wait_read, descriptor)
    sleep(0)
    thread.kill()
    assert descriptor.reader is None


def test_closing_wakes_who_waits_with_ebadf_at_once(hub: Hub, pair):
    left, _ = pair
    fill(left)
    descriptor = hub.io.register(left.fileno())
    threads = [spawn(hub.io.wait_read, descriptor), spawn(hub.io.wait_write, descriptor)]
    for thread in threads:
        thread.quiet = True
    sleep(0)
    hub.io.unregister(descriptor)
    left.close()
    for thread in threads:
        with pytest.raises(OSError) as error:
            thread.wait()
        assert ebadf(error)
    with pytest.raises(OSError) as error:
        hub.io.wait_read(descriptor)
    assert ebadf(error)


def test_a_waiter_that_was_woken_already_gets_no_ebadf_too(hub: Hub, pair):
    left, right = pair
    descriptor = hub.io.register(left.fileno())
    thread = spawn(hub.io.wait_read, descriptor)
    sleep(0)
    token = descriptor.reader
    assert isinstance(token, list)
    waiter = token.pop()
    hub.ready.append(waiter)
    hub.io.unregister(descriptor)
    thread.wait()
    right.close()


def test_a_raw_close_wakes_who_waits_as_soon_as_the_number_is_used_again(hub: Hub, pipe):
    reader, _ = pipe
    thread = spawn(hub.wait_readable, reader)
    thread.quiet = True
    sleep(0)
    os.close(reader)
    other, end = os.pipe()
    assert other == reader
    hub.io.register(other)
    with pytest.raises(OSError) as error:
        thread.wait()
    assert ebadf(error)
    hub.io.unregister_fd(other)
    hub.io.unregister_fd(other)
    os.close(end)


def test_a_raw_close_wakes_who_waits_when_the_hub_goes_to_sleep(virtual: VirtualTime, pipe):
    reader, _ = pipe
    thread = spawn(virtual.hub.wait_readable, reader)
    thread.quiet = True
    sleep(5)
    os.close(reader)
    sleep(2)
    with pytest.raises(OSError) as error:
        thread.wait()
    assert ebadf(error)


def test_a_reused_number_wakes_its_previous_waiter_as_closed_when_the_hub_goes_to_sleep(virtual: VirtualTime, pipe):
    reader, _ = pipe
    thread = spawn(virtual.hub.wait_readable, reader)
    thread.quiet = True
    sleep(5)
    os.close(reader)
    other, end = os.pipe()  # nobody tells the hub
    assert other == reader
    sleep(2)
    assert thread.dead
    os.close(end)


def test_a_hub_that_has_looked_for_closed_ones_sleeps_on(virtual: VirtualTime, pipe):
    reader, _ = pipe
    thread = spawn(virtual.hub.wait_readable, reader)
    sleep(1000)
    assert len(virtual.sleeps) < 5
    thread.kill()


def test_a_reused_number_never_wakes_its_previous_waiter_by_its_own_events(hub: Hub, pipe):
    reader, _ = pipe
    woken = []

    def wait() -> None:
        hub.wait_readable(reader)
        woken.append("by the other file's bytes")

    thread = spawn(wait)
    thread.quiet = True
    sleep(0)
    os.close(reader)
    other, end = os.pipe()
    assert other == reader
    descriptor = hub.io.register(other)
    fresh = spawn(hub.io.wait_read, descriptor)
    sleep(0)
    os.write(end, b"x")
    fresh.wait()
    assert woken == []
    assert isinstance(thread.error, OSError)
    os.close(end)


def test_the_end_of_the_stream_wakes_the_reader(hub: Hub, pair):
    left, right = pair
    descriptor = hub.io.register(left.fileno())
    thread = spawn(hub.io.wait_read, descriptor)
    sleep(0)
    right.shutdown(socket.SHUT_WR)
    thread.wait()
    assert left.recv(1) == b""


def test_a_hangup_wakes_both(hub: Hub, pair):
    left, right = pair
    fill(left)
    descriptor = hub.io.register(left.fileno())
    threads = [spawn(hub.io.wait_read, descriptor), spawn(hub.io.wait_write, descriptor)]
    sleep(0)
    right.close()
    for thread in threads:
        thread.wait()


def test_an_error_wakes_both(hub: Hub):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        client.setblocking(False)
        fill(client)
        descriptor = hub.io.register(client.fileno())
        threads = [spawn(hub.io.wait_read, descriptor), spawn(hub.io.wait_write, descriptor)]
        sleep(0)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()  # a reset
        for thread in threads:
            thread.wait()


def test_a_closed_pipe_wakes_its_writer(hub: Hub, pipe):
    reader, writer = pipe
    try:
        while True:
            os.write(writer, b"x" * 65536)
    except BlockingIOError:
        pass
    thread = spawn(hub.wait_writable, writer)
    sleep(0)
    os.close(reader)
    thread.wait()
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")


def test_a_bad_descriptor_raises_and_never_spins_the_loop(hub: Hub, pipe):
    reader, writer = pipe
    os.close(writer)
    os.close(reader)
    for wait in (hub.wait_readable, hub.wait_writable, hub.io.register):
        with pytest.raises(OSError) as error:
            wait(reader)
        assert ebadf(error)
    before = hub.rounds
    sleep(0.02)
    assert hub.rounds - before < 10


def test_a_descriptor_that_goes_bad_while_it_is_waited_for_never_spins_the_loop(hub: Hub, pipe):
    reader, writer = pipe
    thread = spawn(hub.wait_readable, reader)
    thread.quiet = True
    sleep(0)
    os.close(reader)
    os.close(writer)
    before = hub.rounds
    sleep(0.02)
    assert hub.rounds - before < 10
    thread.kill()


def test_a_hung_up_descriptor_that_nobody_reads_never_spins_the_loop(hub: Hub, pair):
    left, right = pair
    hub.io.register(left.fileno())
    right.send(b"x")
    right.close()
    before = hub.rounds
    sleep(0.02)
    assert hub.rounds - before < 10


def test_a_stranger_descriptor_is_found_ready_however_often_one_asks(hub: Hub, pipe):
    reader, writer = pipe
    os.write(writer, b"x")
    for _ in range(3):
        hub.wait_readable(reader)
        hub.wait_writable(writer)
    assert os.read(reader, 10) == b"x"
    with pytest.raises(TimeoutError):
        hub.wait_readable(reader, hub.clock() + 0.001)


def test_regular_files_never_meet_the_poller(hub: Hub):
    with tempfile.TemporaryFile() as file:
        hub.wait_readable(file.fileno())
        hub.wait_writable(file.fileno())
        with pytest.raises(PermissionError):
            hub.io.register(file.fileno())
        with pytest.raises(PermissionError):
            hub.on_readable(file.fileno(), print)
        assert file.fileno() not in hub.io.descriptors


def test_registering_a_number_again_after_a_close_elsewhere(hub: Hub, pair):
    """The duplicate keeps the file, and with epoll the old registration, alive."""
    left, _ = pair
    fd = left.fileno()
    hub.io.register(fd)
    duplicate = os.dup(fd)
    os.close(fd)
    os.dup2(duplicate, fd)
    hub.io.descriptors.clear()
    descriptor = hub.io.register(fd)
    with pytest.raises(TimeoutError):
        hub.io.wait_read(descriptor, hub.clock())
    os.close(duplicate)


def test_a_hub_call_may_wait_in_the_place_of_a_green_thread(hub: Hub, pair):
    left, right = pair
    calls = []

    class Readable(HubCall):
        def switch(self) -> None:
            calls.append(left.recv(10))

    descriptor = hub.io.register(left.fileno())
    descriptor.reader = Readable()
    hub.io.poller.arm(descriptor.fd, READ)
    right.send(b"x")
    sleep(0.001)
    assert calls == [b"x"]
    assert descriptor.reader is None
    descriptor.reader = Readable()
    hub.io.unregister(descriptor)
    assert descriptor.reader is None


def test_a_callback_is_called_as_often_as_there_is_something_to_read(hub: Hub, pair):
    """One byte at a time: an edge-triggered poller alone would report the five bytes once."""
    left, right = pair
    got = bytearray()
    watch = hub.on_readable(left.fileno(), lambda: got.extend(left.recv(1)))
    right.send(b"hello")
    while len(got) < 5:
        sleep(0)
    right.send(b"!")
    while len(got) < 6:
        sleep(0)
    assert watch.active
    watch.cancel()
    watch.cancel()
    right.send(b"?")
    sleep(0.001)
    assert (bytes(got), watch.active) == (b"hello!", False)
    assert left.fileno() not in hub.io.descriptors


def test_callbacks_for_both_directions(hub: Hub, pair):
    left, right = pair
    calls = []
    writable = hub.on_writable(left.fileno(), lambda: (calls.append("write"), writable.cancel()))
    readable = hub.on_readable(left.fileno(), lambda: (calls.append("read"), readable.cancel()))
    sleep(0.001)
    assert calls == ["write"]
    with pytest.raises(AlreadyWaiting):
        hub.on_readable(left.fileno(), print)
    right.send(b"x")
    sleep(0.001)
    assert calls == ["write", "read"]
    sleep(0.001)
    assert left.fileno() not in hub.io.descriptors


def test_a_callback_that_closes_its_descriptor_ends(hub: Hub, pair):
    left, right = pair
    watch = hub.on_readable(left.fileno(), left.close)
    right.send(b"x")
    sleep(0.001)
    assert not watch.active


def test_a_callback_ends_when_its_descriptor_is_unregistered(hub: Hub, pair):
    left, right = pair
    calls: list[int] = []
    watch = hub.on_readable(left.fileno(), calls.append, 1)
    hub.io.unregister_fd(left.fileno())
    right.send(b"x")
    sleep(0.001)
    assert (calls, watch.active) == ([], False)


def test_a_callback_cancelled_in_its_very_round_is_not_called(hub: Hub, pair):
    left, right = pair
    other, peer = socket.socketpair()
    with other, peer:
        calls = []
        watches = [
            hub.on_readable(left.fileno(), lambda: (calls.append(1), watches[1].cancel(), left.recv(1))),
            hub.on_readable(other.fileno(), lambda: (calls.append(2), watches[0].cancel(), other.recv(1))),
        ]
        right.send(b"x")
        peer.send(b"x")
        sleep(0.001)
        assert len(calls) == 1


def test_a_callback_that_raises_goes_on(hub: Hub, pair, capsys):
    left, right = pair
    watch = hub.on_readable(left.fileno(), lambda: left.recv(1) and int("x"))
    right.send(b"ab")
    sleep(0.002)
    assert watch.active
    watch.cancel()
    assert capsys.readouterr().err.count("ValueError") == 2


def test_a_callback_on_anothers_registration_leaves_it_when_it_ends(hub: Hub, pair):
    left, right = pair
    descriptor = hub.io.register(left.fileno())
    watch = hub.on_readable(left.fileno(), print)
    watch.cancel()
    assert hub.io.descriptors[left.fileno()] is descriptor
    right.send(b"x")
    hub.wait_readable(left.fileno())


def test_select_refuses_a_number_that_is_too_large(pair):
    left, _ = pair
    try:
        high = os.dup2(left.fileno(), 1200)
    except OSError:
        pytest.skip("the limit of descriptors is below that")
    try:
        with pytest.raises(OSError, match="1023") as error:
            SelectPoller().add(high)
        assert error.value.errno == errno.EMFILE
    finally:
        os.close(high)


@pytest.mark.parametrize("side", ["read", "write"])
def test_the_place_of_a_waiter_that_is_killed_and_has_not_run_yet_is_free(hub: Hub, pair, side):
    left, right = pair
    fill(left)
    descriptor = hub.io.register(left.fileno())
    wait = getattr(hub.io, f"wait_{side}")
    first = spawn(wait, descriptor)
    sleep(0)
    first.kill(block=False)
    second = spawn(wait, descriptor)
    hub.ready.rotate(1)  # the second runs before the first has seen its end
    sleep(0)
    sleep(0)
    assert first.dead
    assert not second.dead
    while side == "write" and len(right.recv(65536)) == 65536:
        pass
    right.send(b"x")
    second.wait()


def test_the_place_of_a_killed_waiter_is_free_for_whoever_kills_it(hub: Hub, pair):
    left, right = pair
    descriptor = hub.io.register(left.fileno())
    first = spawn(hub.io.wait_read, descriptor)
    sleep(0)
    first.kill(block=False)
    hub.call_later(0.01, right.send, b"x")
    hub.io.wait_read(descriptor)
    assert left.recv(1) == b"x"


def test_the_place_of_a_killed_waiter_is_free_for_a_callback(hub: Hub, pair):
    left, right = pair
    first = spawn(hub.wait_readable, left.fileno())
    sleep(0)
    first.kill(block=False)
    read: list[bytes] = []
    watch = hub.on_readable(left.fileno(), lambda: read.append(left.recv(10)))
    right.send(b"x")
    while not read:
        sleep(0.001)
    watch.cancel()
    assert left.fileno() not in hub.io.descriptors


def test_an_owner_that_registers_late_disturbs_nobody_who_waits_by_number(hub: Hub, pair):
    left, right = pair
    waiting = spawn(hub.wait_readable, left.fileno())
    sleep(0)
    descriptor = hub.io.register_late(left.fileno())
    assert hub.io.descriptors[left.fileno()] is descriptor
    fill(left)
    writing = spawn(hub.io.wait_write, descriptor)
    sleep(0.01)
    assert not waiting.dead
    right.send(b"x")
    waiting.wait()
    right.setblocking(True)
    while not writing.dead:
        right.recv(65536)
        sleep(0.001)
    writing.wait()


def test_an_owner_that_registers_late_keeps_callbacks_which_end_without_it(hub: Hub, pair):
    left, _ = pair
    called: list[int] = []
    watch = hub.on_writable(left.fileno(), lambda: called.append(1))
    descriptor = hub.io.register_late(left.fileno())
    sleep(0.01)
    assert watch.active
    assert called
    watch.cancel()
    assert hub.io.descriptors[left.fileno()] is descriptor  # the owner's, not the callback's to end


def test_an_owner_that_registers_late_under_a_reused_number_ends_the_waits_for_the_old_file(hub: Hub, pipe):
    reader, _ = pipe
    waiting = spawn(hub.wait_readable, reader)
    sleep(0)
    os.close(reader)
    left, right = socket.socketpair()
    with left, right:
        os.dup2(left.fileno(), reader)
        hub.io.register_late(reader)
        if hub.io.poller.edges:  # select cannot tell one file from another
            with pytest.raises(OSError) as error:
                waiting.wait()
            assert ebadf(error)
        waiting.kill()
