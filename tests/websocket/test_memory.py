"""What peers can make us hold: counted in bytes, bounded for each WebSocket and for all."""

from __future__ import annotations

import random
import sys
import threading
import zlib
from types import SimpleNamespace

import pytest

from greenserve import kill, sleep, spawn
from greenserve.hub.core.hub import Hub
from greenserve.net.send_buffer import JOINED_SIZE
from greenserve.websocket import ConnectionClosed, accept
from greenserve.websocket.connection import SMALL, UNSENT_LIMIT
from greenserve.websocket.memory import Memory
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.message import OVERHEAD, PackedMessage
from greenserve.websocket.receive_queue import MAX_SIZE, ReceiveQueue
from tests.server.live import Client, serving
from tests.waiting import until, until_blocking
from tests.wire import BINARY, CLOSE, CONTINUATION, TEXT, deflated, frame

from .pair import Pair
from .test_api import UPGRADE, request

MIB = 1 << 20
DEFLATE = DeflateParameters()
KEPT = DeflateParameters(server_no_context_takeover=False, client_no_context_takeover=False)


@pytest.fixture
def pair(hub):
    with Pair(deflate=DEFLATE) as pair:
        yield pair


def held(pair: Pair) -> int:
    return pair.connection.protocol.held + pair.connection.received.size


# -- one WebSocket


def test_a_compressed_message_is_held_as_it_came_until_somebody_wants_it(pair):
    text = "\U0001f600" + "a" * (MIB - 10)
    payload = deflated(text.encode())
    assert len(payload) < 2000
    pair.peer.send(pair.peer.frame(TEXT, payload, rsv=4) * 2)
    until(lambda: len(pair.connection.received.messages) == 2)
    assert held(pair) <= 2 * (len(payload) + OVERHEAD)
    assert pair.ws.receive() == pair.ws.receive() == text
    assert held(pair) == 0


def test_a_compressed_message_that_is_not_complete_is_held_as_it_came(pair):
    payload = deflated(bytes(MIB - 10))
    pair.peer.send(pair.peer.frame(BINARY, payload, rsv=4, fin=False))
    until(lambda: held(pair) == len(payload))
    pair.peer.send(pair.peer.frame(CONTINUATION))
    assert pair.ws.receive() == bytes(MIB - 10)


def test_messages_count_with_the_bytes_that_they_take_and_not_with_their_characters(pair):
    text = "\U0001f600" + "a" * 15_000  # four bytes for each character
    spawn(pair.peer.send, *[pair.peer.frame(TEXT, text.encode()) for _ in range(60)])
    until(lambda: pair.connection.paused)
    queue = pair.connection.received
    assert queue.size == sum(map(sys.getsizeof, queue.messages))
    assert queue.size < MAX_SIZE + sys.getsizeof(text)
    assert [pair.ws.receive(5) for _ in range(60)] == [text] * 60


def test_a_message_that_was_inflated_for_a_receiver_who_has_left_counts_as_it_is(pair, monkeypatch):
    monkeypatch.setattr(Hub, "turn_is_over", lambda hub: True)
    text = "\U0001f600" + "a" * 100_000
    receiving = spawn(pair.ws.receive)
    sleep(0)
    pair.peer.send(pair.peer.frame(TEXT, deflated(text.encode()), rsv=4))
    while not pair.connection.received.unpacking or pair.connection.received.size < 20_000:
        sleep(0)
    kill(receiving)
    while pair.connection.received.unpacking:
        sleep(0)
    queue = pair.connection.received
    assert isinstance(queue.messages[0], PackedMessage)
    assert queue.size == queue.messages[0].size >= 20_000
    assert pair.ws.receive() == text
    assert queue.size == 0


def test_a_compressed_message_may_not_be_much_longer_than_what_it_may_inflate_to(pair):
    empty_block = b"\x00\x00\x00\xff\xff"
    first = pair.peer.frame(BINARY, empty_block * 10_000, rsv=4, fin=False)
    spawn(pair.peer.send, first + pair.peer.frame(CONTINUATION, empty_block * 10_000, fin=False) * 40)
    with pytest.raises(ConnectionClosed) as caught:
        pair.ws.receive()
    assert caught.value.code == 1009


def test_what_does_not_compress_may_be_as_long_as_the_limit(hub):
    data = random.Random(1).randbytes(100_000)
    with Pair(deflate=DEFLATE, max_message=len(data)) as pair:
        spawn(pair.peer.send, pair.peer.frame(BINARY, deflated(data), rsv=4))
        assert pair.ws.receive() == data


# -- messages that are unpacked when they are received


def kinds(pair: Pair) -> tuple[list[bytes], list[str | bytes]]:
    """Messages of every kind, large and small: frames, and what they say."""
    messages: list[str | bytes] = []
    frames = []
    for number in range(8):
        text = f"{number} grüße\U0001f600" * (1 if number % 2 else 20_000)
        frames.append(pair.peer.frame(TEXT, text.encode()))
        frames.append(pair.peer.frame(TEXT, deflated(text.encode()), rsv=4))
        frames.append(pair.peer.frame(BINARY, deflated(text.encode()), rsv=4))
        messages += [text, text, text.encode()]
    return frames, messages


@pytest.mark.parametrize("early", [False, True])
def test_messages_of_all_kinds_are_received_in_order(pair, early):
    frames, messages = kinds(pair)
    sending = spawn(pair.peer.send, *frames)
    if early:
        until(lambda: pair.connection.received.messages)
    assert [pair.ws.receive(5) for _ in messages] == messages
    sending.wait()


def test_several_receivers_are_served_in_order_whatever_the_kinds(pair):
    frames, messages = kinds(pair)
    waiting = [spawn(pair.ws.receive) for _ in messages]
    sleep(0)
    spawn(pair.peer.send, *frames)
    assert [thread.wait() for thread in waiting] == messages


def test_an_os_thread_receives_messages_of_all_kinds(pair):
    frames, messages = kinds(pair)
    received: list[str | bytes] = []
    thread = threading.Thread(target=lambda: received.extend(pair.ws.receive(10) for _ in messages))
    thread.start()
    spawn(pair.peer.send, *frames)
    until(lambda: not thread.is_alive())
    assert received == messages


def test_contexts_that_are_kept_see_the_messages_in_their_order(hub):
    context = zlib.compressobj(wbits=-15)
    texts = [f"{number} is the same as ever" * 5000 for number in range(5)]
    with Pair(deflate=KEPT) as pair:
        for text in texts:
            payload = (context.compress(text.encode()) + context.flush(zlib.Z_SYNC_FLUSH))[:-4]
            pair.peer.send(pair.peer.frame(TEXT, payload, rsv=4))
        assert [pair.ws.receive(5) for _ in texts] == texts


@pytest.mark.usefixtures("clock")  # no turn is over because the machine is busy
def test_the_end_behind_a_large_message_comes_after_it_and_its_answer(pair):
    text = "ü" * 300_000

    def answer():
        assert pair.ws.receive() == text
        pair.ws.send("answered")

    answering = spawn(answer)
    sleep(0)
    pair.peer.send(pair.peer.frame(TEXT, deflated(text.encode()), rsv=4), pair.peer.frame(CLOSE))
    answering.wait()
    assert pair.peer.read() == (TEXT, b"answered")
    assert pair.peer.read_close() == (1005, "")


@pytest.mark.parametrize("size", [1, 300_000])
def test_a_violation_behind_a_compressed_message_comes_after_it(pair, size):
    waiting = [spawn(pair.ws.receive) for _ in range(2)]
    sleep(0)
    packed = pair.peer.frame(TEXT, deflated(b"x" * size), rsv=4)
    pair.peer.send(packed + b"\x81\x01x")  # which looks like a whole message at its first byte, and is not masked
    assert waiting[0].wait() == "x" * size
    with pytest.raises(ConnectionClosed) as caught:
        waiting[1].wait()
    assert caught.value.code == 1002


def test_messages_that_were_not_received_before_the_end_can_be_received_after_it(pair):
    text = "ü" * 300_000
    pair.peer.send(pair.peer.frame(TEXT, deflated(text.encode()), rsv=4), pair.peer.frame(CLOSE))
    pair.peer.close()
    until(lambda: pair.ws.closed)
    waiting = [spawn(pair.ws.receive) for _ in range(3)]
    assert waiting[0].wait() == text
    for thread in waiting[1:]:
        with pytest.raises(ConnectionClosed):
            thread.wait()


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_message_that_cannot_be_unpacked_ends_it_with_1007_whenever_that_is_found(pair, closed, late):
    bad = pair.peer.frame(TEXT, deflated(b"x" * 100_000 + b"\xff"), rsv=4)
    good = pair.peer.frame(TEXT, b"never received")
    receiving = None if late else spawn(pair.ws.receive)
    sleep(0)
    pair.peer.send(bad, good, pair.peer.frame(CLOSE) if closed else b"")
    if late:
        until(lambda: pair.ws.closed if closed else len(pair.connection.received.messages) == 2)
    with pytest.raises(ConnectionClosed) as caught:
        pair.ws.receive() if receiving is None else receiving.wait()
    assert caught.value.code == 1007
    with pytest.raises(ConnectionClosed):
        pair.ws.receive()
    code, _ = pair.peer.read_close()
    assert code == (1005 if closed and late else 1007)


# -- all together


class Holder:
    def __init__(self) -> None:
        self.given_up = False

    def give_up(self) -> None:
        self.given_up = True


def test_the_one_that_holds_the_most_gives_way():
    memory = Memory(100)
    small, large, newcomer = Holder(), Holder(), Holder()
    memory.hold(small, 20)
    memory.hold(large, 80)
    assert not large.given_up
    memory.hold(newcomer, 10)
    assert (small.given_up, large.given_up, newcomer.given_up) == (False, True, False)
    assert memory.held == 30
    memory.hold(large, 0)
    memory.hold(small, 0)
    memory.hold(newcomer, 0)
    assert memory.held == 0


def test_one_that_wants_more_than_there_is_gives_way_itself():
    memory = Memory(100)
    holder = Holder()
    memory.hold(holder, 101)
    assert holder.given_up
    assert memory.held == 0


def test_without_a_limit_nobody_gives_way():
    memory, holder = Memory(None), Holder()
    memory.hold(holder, 1 << 40)
    assert not holder.given_up


def test_a_link_says_what_it_holds_and_lets_go_at_its_end(hub):
    memory = Memory(None)
    with Pair(memory=memory) as pair:
        pair.peer.send(pair.peer.frame(BINARY, bytes(50_000), fin=False))
        until(lambda: memory.held == 50_000)
        pair.peer.send(pair.peer.frame(CONTINUATION))
        until(lambda: pair.connection.received.messages)
        assert memory.held == sys.getsizeof(bytes(50_000))
        pair.ws.receive()
        assert memory.held == 0
        pair.peer.send(pair.peer.frame(BINARY, bytes(50_000)), pair.peer.frame(BINARY, bytes(SMALL), fin=False))
        until(lambda: memory.held > 50_000)
    assert memory.held == 0


def test_unfinished_messages_of_many_are_bounded_together_and_the_largest_gives_way(caplog):
    def application(environ, start_response):
        with accept(environ) as ws:
            for message in ws:
                ws.send(str(len(message)))
        return []

    def unfinished(size: int) -> Client:
        client = Client(server)
        client.send(request(headers=UPGRADE))
        client.response(body=False)
        client.send(frame(BINARY, bytes(size), fin=False))
        return client

    with serving(application, ws_max_memory="1 MiB") as server:
        memory = server._worker.websocket_policy.memory
        with unfinished(300_000) as small:
            until_blocking(lambda: memory.held >= 300_000)
            with unfinished(600_000) as large:
                until_blocking(lambda: memory.held >= 900_000)
                with unfinished(200_000) as newcomer:
                    assert large.file.read(4) == b"\x88\x1f" + (1013).to_bytes(2)
                    for client, size in ((small, b"300000"), (newcomer, b"200000")):
                        client.send(frame(CONTINUATION))
                        assert client.file.read(8) == b"\x81\x06" + size
        until_blocking(lambda: memory.held == 0)
    assert "ws_max_memory" in caplog.text


def test_a_sender_waits_earlier_while_all_together_have_too_much_to_send(hub):
    memory = Memory(4 * JOINED_SIZE)
    with Pair(memory=memory) as one, Pair(memory=memory) as other:
        for pair in (one, other):
            while pair.connection.unsent <= 2 * JOINED_SIZE and not memory.scarce:
                pair.connection.send(bytes(JOINED_SIZE))
        assert memory.scarce
        assert one.connection.unsent < UNSENT_LIMIT
        sending = spawn(one.ws.send, "later")
        sleep(0)
        assert not sending.dead
        while one.peer.read() != (TEXT, b"later"):
            pass
        sending.wait()
    assert memory.unsent == 0


def test_a_receive_queue_without_messages_forgets_receivers_that_have_left():
    queue = ReceiveQueue()
    queue.receivers += [[], []]
    queue.put(PackedMessage(b"x", MIB, None, text=True))
    assert queue.step(SimpleNamespace(on_changed=lambda room: None)) is False
    assert queue.receivers == []
    assert len(queue.messages) == 1
