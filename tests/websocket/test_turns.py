"""Whatever a peer sends, the hub serves others in between. Every turn is made to be over at the first look at it."""

from __future__ import annotations

import contextlib
import zlib

import pytest

from greenserve import sleep, spawn
from greenserve.hub.core.hub import Hub, current_hub
from greenserve.net import lingering
from greenserve.net.send_buffer import JOINED_SIZE
from greenserve.websocket import ConnectionClosed
from greenserve.websocket.memory import Memory
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.message import PackedMessage
from greenserve.websocket.stages import Stage
from tests.wire import BINARY, CONTINUATION, PING, PONG, TEXT, deflated

from .pair import Pair

MIB = 1 << 20


@pytest.fixture(autouse=True)
def short_turns(hub, monkeypatch):
    monkeypatch.setattr(Hub, "turn_is_over", lambda hub: True)


def turns_until(condition) -> int:
    """How many turns others have had when the condition holds."""
    turns = 0
    while not condition():
        assert turns < 3_000_000, "it never came to that"
        sleep(0)
        turns += 1
    return turns


def control(opcode):
    return lambda peer: peer.frame(opcode) * 1000 + peer.frame(TEXT, b"end")


def empty_fragments(peer):
    return peer.frame(TEXT, fin=False) + peer.frame(CONTINUATION, fin=False) * 5000 + peer.frame(CONTINUATION, b"end")


def small_fragments(peer):
    return peer.frame(TEXT, fin=False) + peer.frame(CONTINUATION, b"x", fin=False) * 5000 + peer.frame(CONTINUATION)


def large_text(peer):
    return peer.frame(TEXT, "ü".encode() * (MIB >> 1))


def bomb(opcode, data):
    return lambda peer: peer.frame(opcode, deflated(data), rsv=4)


@pytest.mark.parametrize(
    ("stream", "least"),
    [
        pytest.param(control(PING), 1000, id="pings"),
        pytest.param(control(PONG), 1000, id="pongs"),
        pytest.param(empty_fragments, 5000 // 32, id="empty fragments"),
        pytest.param(small_fragments, 5000 // 32, id="small fragments"),
        pytest.param(large_text, 60, id="a large text"),
        pytest.param(bomb(BINARY, bytes(MIB)), 16, id="a large compressed message"),
        pytest.param(bomb(TEXT, b"x" * MIB), 64 + 16, id="a large compressed text"),
    ],
)
def test_others_run_while_one_peer_sends(stream, least):
    with Pair(deflate=DeflateParameters()) as pair:
        receiving = spawn(pair.ws.receive)
        sleep(0)
        spawn(pair.peer.send, stream(pair.peer))
        assert turns_until(lambda: receiving.dead) >= least
        assert receiving.wait()


@pytest.mark.parametrize("rsv", [0, 4])
def test_others_run_while_an_application_receives_many_small_messages(rsv):
    count = 1000
    payload = deflated(b"x") if rsv else b"x"
    with Pair(deflate=DeflateParameters()) as pair:

        def receive():
            for _ in range(count):
                assert pair.ws.receive() == "x"

        receiving = spawn(receive)
        spawn(pair.peer.send, pair.peer.frame(TEXT, payload, rsv=rsv) * count)
        assert turns_until(lambda: receiving.dead) >= count // 2
        receiving.wait()


@pytest.mark.parametrize("message", ["x" * MIB, bytes(MIB)], ids=["text", "binary"])
def test_others_run_while_a_large_message_is_compressed(message):
    with Pair(deflate=DeflateParameters()) as pair:
        sending = spawn(pair.ws.send, message)
        assert turns_until(lambda: sending.dead) >= 64
        opcode, payload = pair.peer.read()
        data = zlib.decompress(payload + b"\x00\x00\xff\xff\x01\x00\x00\xff\xff", wbits=-15)
        assert opcode == 0x40 | (TEXT if isinstance(message, str) else BINARY)
        assert data == (message.encode() if isinstance(message, str) else message)


def test_large_messages_of_many_are_compressed_one_after_the_other():
    memory = Memory()
    messages = [bytes([number]) * MIB for number in range(20)]
    with contextlib.ExitStack() as pairs:
        senders = [
            spawn(pairs.enter_context(Pair(deflate=DeflateParameters(), memory=memory)).ws.send, message)
            for message in messages
        ]
        turns_until(lambda: senders[0].dead)
        assert not any(sender.dead for sender in senders[1:])
        rounds = current_hub().rounds
        turns = turns_until(lambda: all(sender.dead for sender in senders))
        assert turns >= 19 * 64
        assert current_hub().rounds - rounds >= 19 * 64


def test_others_run_while_an_application_sends_to_a_quick_peer():
    with Pair() as pair:

        def send():
            for _ in range(1000):
                pair.ws.send("x")

        sending = spawn(send)
        assert turns_until(lambda: sending.dead) >= 950  # for each send but a few


class QuickPeer:
    """In the place of a connection's socket: once it takes something, it takes everything."""

    def __init__(self, sock) -> None:
        self.socket = sock
        self.taken = 0
        self.takes = False

    def send(self, data: bytes, flags: int) -> int:
        if not self.takes:
            raise BlockingIOError
        self.taken += len(data)
        return len(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self.socket, name)


def test_others_run_while_a_quick_peer_takes_what_waits_for_it():
    with Pair() as pair:
        pair.connection.transport.socket = quick = QuickPeer(pair.socket)
        for _ in range(10):
            pair.connection.post(bytes(JOINED_SIZE))
        quick.takes = True
        pair.connection.transport.buffer.switch()
        assert turns_until(lambda: pair.connection.transport.buffer is None) >= 4
        assert quick.taken == 10 * JOINED_SIZE


def test_a_callback_of_the_hub_may_send_whenever():
    with Pair(deflate=DeflateParameters()) as pair:
        current_hub().call_soon(pair.ws.send, "short")
        current_hub().call_soon(pair.ws.send, "x" * MIB)
        assert pair.peer.read() == (TEXT, b"short")
        assert pair.peer.read()[0] == TEXT | 0x40


def test_a_message_whose_websocket_closes_while_it_is_compressed_is_not_sent():
    with Pair(deflate=DeflateParameters()) as pair:
        sending = spawn(pair.ws.send, "x" * MIB)
        sleep(0)
        pair.ws.close(timeout=0)
        with pytest.raises(ConnectionClosed):
            sending.wait()
        assert pair.peer.read_close() == (1000, "")


def test_when_a_turn_is_over_nothing_is_unpacked_in_it_any_more(monkeypatch):
    steps = []
    step = PackedMessage.step
    monkeypatch.setattr(PackedMessage, "step", lambda self: steps.append(self) or step(self))
    memory = Memory()
    with contextlib.ExitStack() as pairs:
        many = [pairs.enter_context(Pair(deflate=DeflateParameters(), memory=memory)) for _ in range(20)]
        receivers = [spawn(pair.ws.receive) for pair in many]
        sleep(0)
        for pair in many:
            pair.peer.send(pair.peer.frame(TEXT, deflated(b"x" * 100_000), rsv=4))
        most = before = 0
        while not all(receiver.dead for receiver in receivers):
            sleep(0)
            most = max(most, len(steps) - before)
            before = len(steps)
        assert most <= 2
        assert [receiver.wait() for receiver in receivers] == ["x" * 100_000] * 20


def test_others_run_while_what_comes_after_the_end_is_thrown_away():
    with Pair() as pair:
        pair.peer.send_close()
        turns_until(lambda: pair.connection.stage is Stage.LINGERING)
        rest = pair.connection.transport.descriptor.reader
        half = lingering.LIMIT >> 1
        spawn(pair.peer.send, bytes(half))
        assert turns_until(lambda: rest.left == half) >= 4


def test_what_comes_after_the_end_is_thrown_away_up_to_a_bound():
    with Pair() as pair:
        pair.peer.send_close()
        with pytest.raises(OSError):
            pair.peer.send(bytes(lingering.LIMIT * 4))
        assert pair.connection.stage is Stage.CLOSED


def test_the_last_words_of_a_peer_that_is_gone_are_bounded():
    with Pair() as pair:
        pair.peer.send(pair.peer.frame(PING) * 5000)
        current_hub().call_soon(pair.connection._lost)  # before they are read
        with pytest.raises(ConnectionClosed):
            pair.ws.receive()
        assert pair.connection.protocol.data_to_send().count(b"\x8a") <= 64
