"""Clients that are slow, silent, many, or gone: the others are served meanwhile, and nothing is left behind."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.conftest import Faulty
from tests.faults.raw import Raw, cpu, facts, peak, rss, settled
from tests.wire import get, post

MEBIBYTE = 1 << 20


def serves(faulty: Faulty, server) -> None:
    """Others are served at once: with no request in line before them, ten answers come on one connection."""
    other = faulty.raw(server)
    for _ in range(10):
        other.send(get())
        assert other.answer() == (200, b"hello")
    other.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: te",
        post("/echo", "Content-Length: 1000") + b"abc",
        post("/echo", "Transfer-Encoding: chunked") + b"5\r\nab",
        post("/echo", "Content-Length: 1000", "Expect: 100-continue"),
    ],
    ids=["silent", "head", "body", "chunk", "expect"],
)
def test_hundreds_who_stop_in_the_middle_hold_up_nobody(faulty: Faulty, begun: bytes) -> None:
    server = faulty.start("--header-timeout", "1s", "--body-timeout", "1s")
    held = [faulty.raw(server, begun) for _ in range(300)]
    serves(faulty, server)
    for connection in held:
        status, _ = connection.head()
        if status == 100:
            status, _ = connection.head()
        assert status == (408 if begun else 0)
        connection.close()
    settled(server, lambda found: found["connections"] == 1 and found["busy"] == 1)
    assert "Traceback" not in server.output


def test_slow_readers_of_an_endless_stream_cost_no_memory(faulty: Faulty) -> None:
    server = faulty.start()
    serves(faulty, server)
    before = rss(server)
    readers = [faulty.raw(server, get("/stream?200000000")) for _ in range(100)]
    for reader in readers:
        assert reader.head()[0] == 200
    serves(faulty, server)
    grown = rss(server) - before
    assert grown < 100 * 65536 * 2 + 4 * MEBIBYTE  # the application's own blocks
    for reader in readers[:50]:
        reader.reset()
    for reader in readers[50:]:
        reader.close()
    settled(server, lambda found: found["connections"] == 1 and found["busy"] == 1)
    assert "Traceback" not in server.output


def test_slow_readers_of_whole_responses_take_no_place(faulty: Faulty) -> None:
    server = faulty.start("--concurrency", "2", "--write-timeout", "2s")
    readers = [faulty.raw(server, get("/whole?10000000")) for _ in range(5)]
    for reader in readers:
        assert reader.head()[0] == 200
    serves(faulty, server)
    found = facts(server)
    assert found["busy"] == 1
    assert 0 < found["unsent"] < 64 * MEBIBYTE
    assert readers[0].file.read(10_000_000) == b"x" * 10_000_000
    readers[0].close()
    # The others are cut off, and what they did not take is forgotten.
    settled(server, lambda found: found["connections"] == 1 and found["unsent"] == 0)


def test_readers_that_keep_up_are_never_cut_off_though_much_is_left(faulty: Faulty) -> None:
    server = faulty.start("--max-unsent", "400M")
    with ThreadPoolExecutor(12) as pool:
        readers = [faulty.raw(server, get("/whole?30000000")) for _ in range(12)]
        assert list(pool.map(Raw.answer, readers)) == [(200, b"x" * 30_000_000)] * 12
    faulty.close()
    settled(server, lambda found: found["unsent"] == 0 and found["connections"] == 1)
    assert "slow clients" not in server.output


def test_two_thousand_slow_readers_hold_no_more_than_max_unsent_and_others_are_served(faulty: Faulty) -> None:
    server = faulty.start("--max-unsent", "64M")
    serves(faulty, server)
    before = rss(server)
    limit, size = 64 * MEBIBYTE, 4_000_000
    for _ in range(20):
        for _ in range(100):
            faulty.raw(server, get(f"/whole?{size}"), receive_buffer=4096)
        found = facts(server)  # by a client of its own, which is answered
        assert found["unsent"] <= limit
    assert peak(server) - before < 2 * limit
    server.wait_for_line(r"slow clients cut off: \d+; .* hold too much .* 67108864 bytes in this process\)")
    # Those that take nothing are cut off, until no more than a quarter is held.
    settled(server, lambda found: found["unsent"] <= limit // 4)
    faulty.close()
    settled(server, lambda found: found["unsent"] == 0 and found["connections"] == 1)
    assert "Traceback" not in server.output


def test_the_readers_that_have_taken_least_are_cut_off(faulty: Faulty) -> None:
    server = faulty.start("--max-unsent", "32M")
    size = 8_000_000
    quick = faulty.raw(server, get(f"/whole?{size}"), receive_buffer=4096)
    assert quick.head()[0] == 200
    read = quick.file.read(size // 2)
    slow = [faulty.raw(server, get(f"/whole?{size}"), receive_buffer=4096) for _ in range(6)]
    server.wait_for_line("slow clients cut off")
    assert read + quick.file.read(size - len(read)) == b"x" * size
    assert facts(server)["connections"] < len(slow) + 2


def test_a_file_goes_on_after_the_application_has_closed_it(faulty: Faulty) -> None:
    content = bytes(range(256)) * 40000
    (faulty.directory / "file").write_bytes(content)
    server = faulty.start("--concurrency", "1", env={"FAULTS_FILE": "file"})
    slow = faulty.raw(server, get("/file") + get())
    fields = slow.head()[1]
    serves(faulty, server)
    assert slow.file.read(int(fields["content-length"])) == content
    assert slow.answer() == (200, b"hello")
    slow.close()
    settled(server, lambda found: found["connections"] == 1)


def test_a_file_that_is_cut_short_while_it_is_sent_ends_the_connection(faulty: Faulty) -> None:
    path = faulty.directory / "file"
    path.write_bytes(b"x" * 20_000_000)
    server = faulty.start(env={"FAULTS_FILE": "file"})
    slow = faulty.raw(server, get("/file"))
    assert slow.head()[0] == 200
    path.write_bytes(b"")
    assert len(slow.file.read(20_000_000)) < 20_000_000  # by Content-Length the client knows that a part is missing
    server.wait_for_line("cut short")
    serves(faulty, server)


STAGES = {
    "nothing": b"",
    "head": b"GET / HT",
    "body": post("/echo", "Content-Length: 9") + b"abc",
    "chunk": post("/echo", "Transfer-Encoding: chunked") + b"5\r\nab",
    "expect": post("/echo", "Content-Length: 9", "Expect: 100-continue"),
    "stream": get("/stream?50000000"),
    "whole": get("/whole?5000000"),
    "sleep": get("/sleep?0.05"),
    "pipelined": get() * 50 + b"GET ",
    "garbage": b"\x16\x03\x01\x02\x00\x01",
}


@pytest.mark.parametrize("leave", [Raw.reset, Raw.close, Raw.shut], ids=["reset", "close", "half"])
def test_who_leaves_at_any_stage_leaves_nothing_behind(faulty: Faulty, leave) -> None:
    server = faulty.start()
    serves(faulty, server)
    for sent in [*STAGES.values()] * 20:
        leave(faulty.raw(server, sent))
    faulty.close()
    settled(server, lambda found: found["connections"] == 1 and found["busy"] == 1 and found["unsent"] == 0)
    serves(faulty, server)
    assert "Traceback" not in server.output
    assert "ERROR" not in server.output


def test_resets_at_accept_are_survived(faulty: Faulty) -> None:
    server = faulty.start()
    for _ in range(500):
        Raw(server.host, server.port).reset()
    serves(faulty, server)
    settled(server, lambda found: found["connections"] <= 2)
    assert "ERROR" not in server.output


def test_a_flood_beyond_the_backlog_is_served_in_the_end(faulty: Faulty) -> None:
    server = faulty.start("--backlog", "8")
    faulty.raw(server, get("/spin?0.3"))
    results = []

    def one() -> None:
        connection = Raw(server.host, server.port)
        connection.send(get("/", "Connection: close"))
        results.append(connection.answer())
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(200, b"hello")] * 40


def test_ten_thousand_pipelined_requests_in_one_send(faulty: Faulty) -> None:
    """Their answers are not read for a while: the server neither hoards nor deadlocks."""
    server = faulty.start()
    serves(faulty, server)
    before = rss(server)
    flood = faulty.raw(server)
    sender = threading.Thread(target=flood.send, args=((get() + get("/whole?20000")) * 5000,))
    sender.start()
    serves(faulty, server)
    assert rss(server) - before < 8 * MEBIBYTE
    for _ in range(5000):
        assert flood.answer() == (200, b"hello")
        assert flood.answer() == (200, b"x" * 20000)
    sender.join()


def test_a_pipelined_mix_is_answered_in_order(faulty: Faulty) -> None:
    server = faulty.start()
    mix = faulty.raw(server)
    mix.send(
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        + post("/echo", "Content-Length: 3")
        + b"abc"
        + get("/whole?100000")
        + post("/echo", "Transfer-Encoding: chunked")
        + b"3\r\nabc\r\n0\r\n\r\n"
        + post("/", "Content-Length: 5")  # which the application does not read
        + b"GET /"
        + get("/", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
        + get("/", "Connection: close")
        + get("/after")
    )
    assert mix.head()[1]["content-length"] == "5"
    assert mix.answer()[1].startswith(b"3 ba7816bf")
    assert mix.answer() == (200, b"x" * 100000)
    assert mix.answer()[1].startswith(b"3 ba7816bf")
    for _ in range(3):
        assert mix.answer() == (200, b"hello")
    assert mix.at_end()


def test_a_client_that_keeps_the_connection_after_close_is_left(faulty: Faulty) -> None:
    server = faulty.start()
    clients = [faulty.raw(server, get("/", "Connection: close") + get() * 3) for _ in range(20)]
    for client in clients:
        assert client.answer() == (200, b"hello")
        assert client.at_end()
    settled(server, lambda found: found["connections"] == 1)  # though none of them has closed


def test_a_hub_that_was_blocked_cuts_nobody_off(faulty: Faulty) -> None:
    server = faulty.start("--body-timeout", "1s", "--keepalive-timeout", "1s", "--header-timeout", "1s")
    idle = faulty.raw(server, get())
    assert idle.answer() == (200, b"hello")
    upload = faulty.raw(server, post("/echo", "Content-Length: 3") + b"a")
    head = faulty.raw(server, b"GET / HT")
    spinner = faulty.raw(server, get("/spin?2.5"))
    with contextlib.suppress(TimeoutError):
        spinner.socket.settimeout(0.2)
        spinner.socket.recv(1, socket.MSG_PEEK)
    spinner.socket.settimeout(20)
    idle.send(get())
    upload.send(b"bc")
    head.send(b"TP/1.1\r\nHost: a\r\n\r\n")
    assert idle.answer() == (200, b"hello")
    assert upload.answer()[1].startswith(b"3 ba7816bf")
    assert head.answer() == (200, b"hello")
    assert spinner.answer() == (200, b"hello")


def test_idle_connections_cost_no_processor_time(faulty: Faulty) -> None:
    server = faulty.start()
    idle = [faulty.raw(server, get()) for _ in range(200)]
    for connection in idle:
        connection.answer()
    before = cpu(server)
    idle[0].socket.settimeout(2)
    with pytest.raises(TimeoutError):
        idle[0].socket.recv(1)
    assert cpu(server) - before <= 0.1


FEW_DESCRIPTORS = ("/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh", sys.executable, "-m", "greenserve")


def test_descriptors_run_out_and_come_back(faulty: Faulty) -> None:
    server = faulty.start("--header-timeout", "1s", "--max-connections", "1000", executable=FEW_DESCRIPTORS)
    silent = [faulty.raw(server) for _ in range(100)]
    server.wait_for_line("cannot accept")
    for connection in silent:  # each is closed at its deadline, which makes room for the next
        assert connection.at_end()
        connection.close()
    idle = []
    for _ in range(100):  # and idle ones make room at once
        idle.append(faulty.raw(server, get()))
        assert idle[-1].answer() == (200, b"hello")
    assert server.output.count("cannot accept") == 1


def test_with_64_descriptors_none_of_many_requests_is_lost_and_silent_clients_give_way(faulty: Faulty) -> None:
    """As it is installed: max_connections follows from the descriptors, so that they do not run out."""
    server = faulty.start("--header-timeout", "600s", executable=FEW_DESCRIPTORS)
    burst = [faulty.raw(server, get("/sleep?0.01", "Connection: close")) for _ in range(100)]
    assert [connection.answer() for connection in burst] == [(200, b"hello")] * 100
    silent = [faulty.raw(server) for _ in range(100)]
    for _ in range(20):  # a health check, while all that there is room for are silent
        assert faulty.raw(server, get("/", "Connection: close")).answer() == (200, b"hello")
    assert silent[0].at_end()
    server.wait_for_line(r"closed idle connections to make room: \d+; there are max_connections \(32\) already; raise")
    assert "cannot accept" not in server.output
    assert "Traceback" not in server.output


def test_twenty_thousand_connections_leave_nothing_behind(faulty: Faulty) -> None:
    server = faulty.start()
    host, port = server.host, server.port
    sent = [get(), get("/", "Connection: close"), b"", b"GET /", post("/echo", "Content-Length: 9") + b"a"]

    def rounds(count: int) -> None:
        for number in range(count):
            connection = Raw(host, port)
            connection.send(sent[number % len(sent)])
            if number % len(sent) in (0, 1):
                assert connection.answer() == (200, b"hello")
            if number % 2:
                connection.close()
            else:
                connection.reset()

    def load(count: int) -> None:
        threads = [threading.Thread(target=rounds, args=(count // 4,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    load(4000)
    before = settled(server, lambda found: found["connections"] == 1 and found["busy"] == 1)
    memory = rss(server)
    load(16000)
    after = settled(server, lambda found: found["connections"] == 1 and found["busy"] == 1)
    assert after["alive"] <= 2  # this one, and one that some frame may still name
    assert after["fds"] == before["fds"]
    assert after["descriptors"] == before["descriptors"]
    assert after["objects"] - before["objects"] < 1000
    assert rss(server) - memory < 4 * MEBIBYTE
