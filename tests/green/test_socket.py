"""The green socket: what it does as the real one, and what it does to the other green threads, which is nothing."""

from __future__ import annotations

import errno
import os
import socket as real_socket
import threading
from contextlib import closing

import pytest

from greenserve.errors import AlreadyWaiting
from greenserve.green import socket
from greenserve.hub import current_hub, sleep, spawn


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_it_is_a_socket_for_isinstance(pair):
    assert isinstance(pair[0], real_socket.socket)
    assert pair[0].type == real_socket.SOCK_STREAM


def test_a_reader_waits_while_others_run(pair):
    left, right = pair
    reader = spawn(left.recv, 10)
    sleep(0)
    assert not reader.dead
    right.send(b"late")
    assert reader.wait() == b"late"


def test_a_registration_outlives_a_wait(pair):
    left, right = pair
    for _ in range(2):
        reader = spawn(left.recv, 10)
        sleep(0)
        right.send(b"x")
        reader.wait()
    assert current_hub().io.descriptors[left.fileno()] is left._descriptor


def test_one_reads_while_another_writes(pair):
    left, right = pair
    data = bytes(4_000_000)
    reader = spawn(left.recv, 1)
    writer = spawn(left.sendall, data)
    received = 0
    while received < len(data):
        received += len(right.recv(1 << 20))
    right.send(b"y")
    assert reader.wait() == b"y"
    writer.wait()


def test_a_second_reader_is_refused(pair):
    left, _ = pair
    first = spawn(left.recv, 1)
    sleep(0)
    with pytest.raises(AlreadyWaiting):
        left.recv(1)
    first.kill()


def test_closing_wakes_the_reader_with_ebadf_at_once(pair):
    left, _ = pair
    reader = spawn(left.recv, 1)
    sleep(0)
    left.close()
    with pytest.raises(OSError) as caught:
        reader.wait()
    assert caught.value.errno == errno.EBADF


def test_a_reused_number_does_not_wake_its_previous_waiter():
    left, right = socket.socketpair()
    number = left.fileno()
    reader = spawn(left.recv, 1)
    sleep(0)
    left.close()
    again, other = socket.socketpair()
    assert number in (again.fileno(), other.fileno())
    second = spawn(again.recv, 1)
    sleep(0)
    other.send(b"2")
    assert second.wait() == b"2"
    with pytest.raises(OSError):
        reader.wait()
    for sock in (again, other, right):
        sock.close()


def test_a_raw_close_and_reuse_leaves_a_working_socket():
    left, right = socket.socketpair()
    reader = spawn(left.recv, 1)
    sleep(0)
    os.close(left.detach.__self__.fileno())
    again, other = socket.socketpair()
    second = spawn(again.recv, 1)
    sleep(0)
    with pytest.raises(OSError):
        reader.wait()
    other.send(b"2")
    assert second.wait() == b"2"
    left._descriptor = None
    real_socket.socket.detach(left)
    for sock in (again, other, right):
        sock.close()


def test_a_timeout_is_a_timeouterror(pair):
    left, _ = pair
    left.settimeout(0.01)
    with pytest.raises(TimeoutError, match="timed out"):
        left.recv(1)
    assert left.gettimeout() == left.timeout == 0.01


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), ("1", TypeError), (float("nan"), ValueError)])
def test_a_wrong_timeout_is_refused(pair, value, error):
    with pytest.raises(error):
        pair[0].settimeout(value)


def test_timeout_zero_and_back(pair):
    left, right = pair
    left.settimeout(0)
    assert not left.getblocking()
    with pytest.raises(BlockingIOError):
        left.recv(1)
    left.setblocking(True)
    assert left.gettimeout() is None
    right.send(b"x")
    assert left.recv(1) == b"x"


def test_dontwait_does_not_wait(pair):
    with pytest.raises(BlockingIOError):
        pair[0].recv(1, real_socket.MSG_DONTWAIT)


def test_sendall_has_one_deadline_for_the_whole_call(pair):
    left, right = pair
    left.settimeout(0.05)

    def drain_slowly():
        while right.recv(20_000):
            sleep(0.01)

    drainer = spawn(drain_slowly)
    with pytest.raises(TimeoutError):
        left.sendall(bytes(100_000_000))
    drainer.kill()


def test_sendall_takes_any_buffer(pair):
    import array

    left, right = pair
    left.sendall(array.array("i", [1, 2]))
    left.sendall(bytearray(b"ab"))
    left.sendall(memoryview(b"cd"))
    left.sendall(b"")
    assert right.recv(100) == array.array("i", [1, 2]).tobytes() + b"abcd"


def test_recv_into_and_its_kin(pair):
    left, right = pair
    right.send(b"abcdef")
    buffer = bytearray(4)
    assert left.recv_into(buffer, nbytes=2) == 2
    assert left.recvfrom_into(buffer) == (4, None) or True
    assert bytes(buffer) == b"cdef"
    right.sendmsg([b"g", b"h"])
    assert left.recvmsg(10)[0] == b"gh"
    right.send(b"ij")
    one, two = bytearray(1), bytearray(1)
    assert left.recvmsg_into([one, two])[0] == 2
    assert (one, two) == (b"i", b"j")


def test_descriptors_travel_over_a_unix_socket(pair):
    left, right = pair
    read_fd, write_fd = os.pipe()
    receiver = spawn(socket.recv_fds, left, 10, 4)
    sleep(0)
    socket.send_fds(right, [b"!"], [read_fd])
    data, fds, _, _ = receiver.wait()
    assert data == b"!"
    for fd in (read_fd, write_fd, *fds):
        os.close(fd)


def test_makefile_counts_references(pair):
    left, right = pair
    file = left.makefile("rb")
    left.close()
    right.send(b"line\n")
    assert file.readline() == b"line\n"
    assert left.fileno() >= 0
    file.close()
    assert left.fileno() == -1


def test_makefile_line_by_line(pair):
    left, right = pair
    with left.makefile("rw", newline="\n") as text:
        reader = spawn(text.readline)
        sleep(0)
        right.sendall(b"one\n")
        assert reader.wait() == "one\n"
        text.write("two\n")
        text.flush()
    assert right.recv(10) == b"two\n"


def test_connect_and_accept(listener):
    server = spawn(listener.accept)
    with socket.create_connection(listener.getsockname()) as client:
        connection, address = server.wait()
        with connection:
            assert type(connection) is socket.socket
            assert address == client.getsockname()


def test_connect_by_name(listener):
    with closing(socket.socket()) as client:
        client.connect(("localhost", listener.getsockname()[1]))


def test_a_refused_connection(listener):
    address = listener.getsockname()
    listener.close()
    with socket.socket() as client:
        assert client.connect_ex(address) == errno.ECONNREFUSED
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(address)


def test_connect_ex_without_waiting(listener):
    with socket.socket() as client:
        client.setblocking(False)
        assert client.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)


def test_a_connect_that_nobody_answers_times_out():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        clients = []
        errors = []
        while not any(errors):
            clients.append(socket.socket())
            clients[-1].settimeout(0.05)
            errors.append(clients[-1].connect_ex(full.getsockname()))
        assert errors[-1] == errno.EAGAIN
        clients.append(socket.socket())
        clients[-1].settimeout(0.05)
        with pytest.raises(TimeoutError):
            clients[-1].connect(full.getsockname())
        for client in clients:
            client.close()


def test_a_unix_listener_whose_queue_is_full_makes_connect_wait(tmp_path):
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(path)
        full.listen(0)
        first, second = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        first.connect(path)
        connecting = spawn(second.connect, path)
        sleep(0.005)
        assert not connecting.dead
        full.accept()[0].close()
        connecting.wait()
        first.close()
        second.close()


def test_datagrams():
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        one.bind(("localhost", 0))
        receiver = spawn(one.recvfrom, 100)
        sleep(0)
        two.sendto(b"hello", ("localhost", one.getsockname()[1]))
        two.bind  # noqa: B018
        data, address = receiver.wait()
        assert data == b"hello"
        assert address == ("127.0.0.1", two.getsockname()[1])
        one.sendto(b"back", 0, address)
        assert two.recv(10) == b"back"


def test_sendfile(pair, tmp_path):
    left, right = pair
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8000)

    def receive():
        data = b""
        while len(data) < 2_048_000 - 10:
            data += right.recv(1 << 16)
        return data

    receiver = spawn(receive)
    with path.open("rb") as file:
        assert left.sendfile(file, offset=10) == 2_048_000 - 10
    assert receiver.wait() == path.read_bytes()[10:]


def test_dup_and_fromfd_are_green(pair):
    left, right = pair
    for copy in (left.dup(), socket.fromfd(left.fileno(), left.family, left.type)):
        with copy:
            assert type(copy) is socket.socket
            reader = spawn(copy.recv, 1)
            sleep(0)
            right.send(b"x")
            assert reader.wait() == b"x"


def test_detach_wakes_the_waiter_and_gives_the_descriptor(pair):
    left, _ = pair
    reader = spawn(left.recv, 1)
    sleep(0)
    fd = left.detach()
    with pytest.raises(OSError):
        reader.wait()
    os.close(fd)
    assert left.fileno() == -1


def test_a_socket_used_from_another_os_thread_too(pair):
    left, right = pair
    reader = spawn(left.recv, 1)
    sleep(0)
    other = threading.Thread(target=lambda: (right.recv(1), right.send(b"a")))
    other.start()
    left.send(b"q")
    assert reader.wait() == b"a"
    other.join()
    second = spawn(right.recv, 1)
    sleep(0)
    left.send(b"r")
    assert second.wait() == b"r"


def test_closing_in_another_os_thread_wakes_the_reader(pair):
    left, _ = pair
    reader = spawn(left.recv, 1)
    sleep(0)
    closer = threading.Thread(target=left.close)
    closer.start()
    with pytest.raises(OSError):
        reader.wait()
    closer.join()


def test_a_killed_reader_leaves_the_socket_usable(pair):
    left, right = pair
    reader = spawn(left.recv, 1)
    sleep(0)
    reader.kill()
    right.send(b"x")
    assert left.recv(1) == b"x"


def test_the_default_timeout_counts():
    real_socket.setdefaulttimeout(0.5)
    try:
        with socket.socket() as sock:
            assert sock.gettimeout() == 0.5
    finally:
        real_socket.setdefaulttimeout(None)
    with socket.socket() as sock:
        assert sock.gettimeout() is None


def test_the_first_wait_of_a_socket_disturbs_nobody_who_waits_by_its_number():
    left, right = socket.socketpair()
    hub = current_hub()
    with left, right:
        watch = hub.on_writable(left.fileno(), lambda: None)
        reading = spawn(left.recv, 1)
        sleep(0.001)
        assert watch.active
        waiting = spawn(hub.wait_readable, right.fileno())
        sleep()
        writing = spawn(right.sendall, bytes(10_000_000))
        sleep(0.001)
        assert not waiting.dead
        reading.wait()
        watch.cancel()
        left.send(b"x")
        waiting.wait()
        writing.kill()


def test_a_socket_may_be_read_by_who_has_just_killed_its_reader():
    left, right = socket.socketpair()
    with left, right:
        reader = spawn(left.recv, 1)
        sleep()
        reader.kill(block=False)
        spawn(right.send, b"x")
        assert left.recv(1) == b"x"
        assert reader.dead
