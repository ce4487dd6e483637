"""What the broker does with frames, without a socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.rooms.protocol.framing import LOG, Frame, Op, Parser, frame
from greenserve.rooms.protocol.relay import Client, Relay


def subscribe(relay: Relay, *channels: bytes) -> Client:
    client = Client()
    for channel in channels:
        relay.receive(client, frame(Op.SUBSCRIBE, channel))
    assert received(client) == [Frame(Op.SUBSCRIBE, channel, b"") for channel in channels]
    return client


def received(client: Client, step: int = 7) -> list[Frame]:
    """What waits, taken in pieces."""
    data = b""
    while client.waiting:
        data += bytes(client.waiting[0][:step])
        client.sent(len(client.waiting[0][:step]))
    assert client.size == 0
    return list(Parser().feed(data))


def publish(relay: Relay, client: Client, channel: bytes, payload: bytes) -> Frame:
    relay.receive(client, frame(Op.MESSAGE, channel, payload))
    return Frame(Op.MESSAGE, channel, payload)


def test_a_message_goes_to_all_subscribers_but_its_sender() -> None:
    relay = Relay()
    one, two, three = subscribe(relay, b"a"), subscribe(relay, b"a", b"b"), subscribe(relay, b"b")
    relay.take_touched()
    message = publish(relay, one, b"a", b"hello")
    assert relay.take_touched() == {two}
    assert relay.take_touched() == set()
    assert (received(one), received(two), received(three)) == ([], [message], [])


def test_without_a_subscription_a_client_may_publish_but_receives_nothing() -> None:
    relay = Relay()
    one, two = Client(), subscribe(relay, b"a")
    first = publish(relay, one, b"a", b"1")
    relay.receive(two, frame(Op.UNSUBSCRIBE, b"a"))
    relay.receive(two, frame(Op.UNSUBSCRIBE, b"never"))
    publish(relay, one, b"a", b"2")
    assert (received(one), received(two)) == ([], [first])


@pytest.mark.parametrize("has_will", [True, False])
def test_the_will_of_a_client_that_has_gone_is_sent_once(has_will: bool) -> None:
    relay = Relay()
    one, two = subscribe(relay, b"a"), subscribe(relay, b"a")
    if has_will:
        relay.receive(one, frame(Op.WILL, b"a", b"gone"))
    relay.leave(one)
    assert received(two) == [Frame(Op.MESSAGE, b"a", b"gone")] * has_will
    publish(relay, two, b"a", b"nobody hears it")
    assert received(one) == []


def test_a_client_for_which_too_much_waits_is_cut_off_and_the_others_are_not() -> None:
    relay = Relay(max_backlog=1000)
    sender, deaf, other = Client(), subscribe(relay, LOG, b"a"), subscribe(relay, b"a", LOG)
    heard = []
    while not deaf.is_cut_off:
        sent = publish(relay, sender, b"a", bytes(100))
        message, *notes = sorted(received(other), key=lambda each: each.channel)
        assert message == sent
        heard.append(message)
    assert len(heard) == 11  # the tenth is the first beyond the limit, and the last that was kept
    assert [note.channel for note in notes] == [LOG]
    assert b"does not read" in notes[0].payload
    assert deaf in relay.take_touched()
    assert deaf.size < 1200
    publish(relay, sender, b"a", b"more")
    assert deaf.size < 1200
    relay.leave(deaf)


def test_one_client_logs_what_the_broker_has_to_say() -> None:
    relay = Relay()
    relay.say("nobody is there")
    clients = [subscribe(relay, LOG) for _ in range(3)]
    relay.say("\udcff is not a file")
    [[note]] = [found for found in map(received, clients) if found]
    assert note == Frame(Op.MESSAGE, LOG, b"\\udcff is not a file")


def test_what_is_not_a_frame_is_refused() -> None:
    with pytest.raises(ValueError):
        Relay().receive(Client(), b"GET / HTTP/1.1\r\n\r\n")


frames = st.lists(st.tuples(st.sampled_from(Op), st.sampled_from([b"", b"a", LOG]), st.binary(max_size=9)), max_size=9)


@given(frames, st.integers(1, 50))
def test_where_the_bytes_are_cut_makes_no_difference(sent: list[tuple[Op, bytes, bytes]], size: int) -> None:
    stream = b"".join(frame(*each) for each in sent)
    found = []
    for cut in (len(stream) + 1, size):
        relay = Relay()
        sender, other = Client(), subscribe(relay, b"", b"a", LOG)
        for start in range(0, len(stream), cut):
            relay.receive(sender, stream[start : start + cut])
        relay.leave(sender)
        found.append((received(other), received(sender), sender.will))
    assert found[0] == found[1]
