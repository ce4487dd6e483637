"""One connection's life by hand: what Autobahn's groups 1 to 7, 10, 12 and 13 are about, without a socket."""

from __future__ import annotations

import random

import pytest

from greenserve.websocket.protocol import Limits, Protocol, Role, State, encode_message
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.errors import ConnectionClosed, InvalidPayload, MessageTooBig, ProtocolViolation
from greenserve.websocket.protocol.events import Close, Ping, Pong
from greenserve.websocket.protocol.frames import build_frame
from tests.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

from .wire import KEY, Run, close_code, each_byte, frame, run, text

KEEP = DeflateParameters(server_no_context_takeover=False, client_no_context_takeover=False, threshold=0)


def server(**limits):
    return Protocol(Role.SERVER, limits=Limits(**limits))


def compressed(message, parameters=None):
    """The frame in which a client of ours sends `message` compressed."""
    return Protocol(Role.CLIENT, deflate=parameters or DeflateParameters(threshold=0)).send(message)


# 1. Messages of all lengths


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 131072])
@pytest.mark.parametrize("make", [lambda size: "*" * size, lambda size: b"\xfe" * size], ids=["text", "binary"])
@pytest.mark.parametrize("piece", [None, 997])
def test_a_message_of_any_length_comes_back_whole(size, make, piece):
    message = make(size)
    payload = message.encode() if isinstance(message, str) else message
    data = frame(TEXT if isinstance(message, str) else BINARY, payload)
    step = piece or len(data)
    result = run(server(), *(data[i : i + step] for i in range(0, len(data), step)))
    assert (result.events, result.failure, result.sent) == ([message], None, b"")
    # And what a server sends, a client reads.
    assert run(Protocol(Role.CLIENT), server().send(message)).events == [message]


def test_several_messages_in_one_read_come_one_by_one():
    data = text("a") + frame(BINARY, b"b") + text("") + frame(PING, b"p") + text("c")
    for pieces in ([data], each_byte(data)):
        protocol = server()
        result = run(protocol, *pieces)
        assert result.events == ["a", b"b", "", Ping(b"p"), "c"]
        assert result.sent == frame(PONG, b"p", key=None)


def test_a_read_that_ends_inside_the_next_frame_keeps_only_its_beginning():
    protocol = server()
    big = frame(BINARY, b"x" * 60000)
    assert run(protocol, big + text("tail")[:5]).events == [b"x" * 60000]
    assert protocol._buffer == text("tail")[:5]
    assert run(protocol, text("tail")[5:]).events == ["tail"]
    assert protocol._buffer == b""


# 2. Pings and Pongs


@pytest.mark.parametrize("payload", [b"", b"ping", b"\x00\xff\xfe", b"\xfe" * 125])
def test_a_ping_is_answered_with_its_payload(payload):
    for pieces in ([frame(PING, payload)], each_byte(frame(PING, payload))):
        result = run(server(), *pieces)
        assert result.events == [Ping(payload)]
        assert result.sent == frame(PONG, payload, key=None)


def test_a_ping_that_is_too_long_fails_the_connection():
    result = run(server(), frame(PING, b"\xfe" * 126))
    assert (result.events, result.failure, close_code(result.sent)) == ([], 1002, 1002)


def test_an_unasked_pong_is_reported_and_not_answered():
    result = run(server(), frame(PONG, b"hello") + frame(PING, b"1") + frame(PONG))
    assert result.events == [Pong(b"hello"), Ping(b"1"), Pong()]
    assert result.sent == frame(PONG, b"1", key=None)


def test_ten_pings_have_ten_answers_in_order():
    data = b"".join(frame(PING, b"payload-%d" % i) for i in range(10))
    assert run(server(), data).sent == b"".join(frame(PONG, b"payload-%d" % i, key=None) for i in range(10))


def test_answers_are_handed_out_once():
    protocol = server()
    run(protocol, frame(PING))
    assert protocol.data_to_send() == b""


def test_our_pings_are_frames():
    assert server().ping(b"x") == frame(PING, b"x", key=None)
    client = Protocol(Role.CLIENT)
    assert run(server(), client.ping(b"x")).events == [Ping(b"x")]
    with pytest.raises(ValueError, match="125"):
        server().ping(b"x" * 126)


# 3, 4. Reserved bits and opcodes


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG])
def test_a_reserved_bit_fails_the_connection_after_what_came_before(rsv, opcode):
    data = text("before") + frame(opcode, rsv=rsv) + text("after")
    for pieces in ([data], each_byte(data)):
        result = run(server(), *pieces)
        assert (result.events, result.failure, close_code(result.sent)) == (["before"], 1002, 1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_a_reserved_opcode_fails_the_connection_after_what_came_before(opcode):
    data = text("before") + frame(opcode, b"?") + text("after")
    for pieces in ([data], each_byte(data)):
        result = run(server(), *pieces)
        assert (result.events, result.failure, close_code(result.sent)) == (["before"], 1002, 1002)


@pytest.mark.parametrize(("size", "wide"), [(0, 2), (5, 2), (125, 2), (0, 8), (5, 8), (126, 8), (65535, 8)])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, PING])
@pytest.mark.parametrize("role", list(Role))
def test_a_length_in_more_bytes_than_needed_fails_the_connection(size, wide, opcode, role):
    data = frame(opcode, b"x" * size, wide=wide, key=KEY if role is Role.SERVER else None)
    for pieces in ([data], each_byte(data[:20])):
        assert run(Protocol(role), *pieces).failure == 1002


# 5. Fragments


FRAGMENTS = text("Hel", fin=False) + frame(CONTINUATION, b"l", fin=False) + frame(CONTINUATION, b"o")


def test_fragments_make_one_message_however_they_are_cut():
    for cut in range(1, len(FRAGMENTS)):
        assert run(server(), FRAGMENTS[:cut], FRAGMENTS[cut:]).events == ["Hello"]
    assert run(server(), *each_byte(FRAGMENTS)).events == ["Hello"]


def test_control_frames_may_come_between_fragments():
    data = (
        frame(BINARY, b"a", fin=False)
        + frame(PING, b"1")
        + frame(CONTINUATION, b"", fin=False)
        + frame(PONG, b"2")
        + frame(CONTINUATION, b"b")
    )
    for pieces in ([data], each_byte(data)):
        result = run(server(), *pieces)
        assert result.events == [Ping(b"1"), Pong(b"2"), b"ab"]
        assert result.sent == frame(PONG, b"1", key=None)


def test_empty_fragments_make_an_empty_message():
    data = frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION)
    assert run(server(), data).events == [""]


@pytest.mark.parametrize(
    "data",
    [
        frame(CONTINUATION, b"x"),
        frame(CONTINUATION, b"x", fin=False),
        FRAGMENTS + frame(CONTINUATION, b"x"),
        text("a", fin=False) + text("b"),
        text("a", fin=False) + frame(BINARY, b"b", fin=False),
        text("a", fin=False) + frame(CONTINUATION, b"b", fin=False) + text("c"),
        frame(PING, fin=False),
        frame(PONG, fin=False),
        frame(CLOSE, fin=False),
        text("not masked", key=None),
    ],
)
def test_frames_in_an_impossible_order_fail_the_connection(data):
    for pieces in ([data], each_byte(data)):
        result = run(server(), *pieces)
        assert result.failure == close_code(result.sent) == 1002


def test_a_masked_frame_from_a_server_fails_the_connection():
    for payload in ("", "x" * 125, "x" * 126):
        client = Protocol(Role.CLIENT)
        result = run(client, text(payload))
        assert (result.events, result.failure) == ([], 1002)
        assert run(server(), result.sent).events[0].code == 1002


# 6. UTF-8


BAD_TEXT = "κόσμε".encode() + b"\xed\xa0\x80edited"


@pytest.mark.parametrize("pieces", [[BAD_TEXT], [BAD_TEXT[:13], BAD_TEXT[13:]], each_byte(BAD_TEXT)])
def test_text_that_is_not_utf8_fails_the_connection(pieces):
    data = b"".join(
        frame(CONTINUATION if index else TEXT, piece, fin=index == len(pieces) - 1)
        for index, piece in enumerate(pieces)
    )
    for chunks in ([data], each_byte(data)):
        result = run(server(), *chunks)
        assert (result.events, result.failure, close_code(result.sent)) == ([], 1007, 1007)


def test_bad_text_fails_before_its_frame_or_message_is_complete():
    data = frame(TEXT, b"\xce\xba\xf4\x90" + b"a" * 100)
    assert run(server(), data[:9]).failure is None
    assert run(server(), data[:10]).failure == 1007
    assert run(server(), frame(TEXT, b"\xf4\x90", fin=False)).failure == 1007


def test_a_character_may_be_cut_by_fragments_but_not_by_the_end():
    euro = "€".encode()
    data = frame(TEXT, euro[:1], fin=False) + frame(CONTINUATION, euro[1:2], fin=False)
    assert run(server(), data + frame(CONTINUATION, euro[2:])).events == ["€"]
    assert run(server(), data + frame(CONTINUATION)).failure == 1007
    assert run(server(), frame(TEXT, euro[:2])).failure == 1007


def test_binary_may_be_anything():
    assert run(server(), frame(BINARY, BAD_TEXT)).events == [BAD_TEXT]


# 7. Closing


def close(code=None, reason=b""):
    return frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 3000, 3999, 4000, 4999])
def test_a_close_is_echoed_with_its_code_and_ends_everything(code):
    for pieces in ([close(code, b"bye")], each_byte(close(code, b"bye"))):
        protocol = server()
        result = run(protocol, *pieces)
        assert result.events == [Close(code, "bye")]
        assert result.sent == frame(CLOSE, code.to_bytes(2), key=None)
        assert protocol.state is State.CLOSED
        assert protocol.closed == Close(code, "bye")


def test_an_empty_close_is_echoed_empty():
    result = run(server(), close())
    assert result.events == [Close(1005)]
    assert result.sent == frame(CLOSE, key=None)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_a_close_with_a_code_that_must_not_be_sent_is_a_violation(code):
    result = run(server(), close(code))
    assert (result.events, result.failure, close_code(result.sent)) == ([], 1002, 1002)


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03", 1002), (b"\x03\xe8" + BAD_TEXT, 1007), (b"\x03\xe8" + b"x" * 124, 1002)],
)
def test_a_malformed_close_is_a_violation(payload, code):
    result = run(server(), frame(CLOSE, payload))
    assert (result.failure, close_code(result.sent)) == (code, code)


def test_after_the_peers_close_all_that_follows_is_dropped():
    data = close(1000) + text("late") + frame(PING) + close(1000) + b"garbage"
    for pieces in ([data], each_byte(data)):
        protocol = server()
        result = run(protocol, *pieces)
        assert result.events == [Close(1000)]
        assert result.sent == frame(CLOSE, (1000).to_bytes(2), key=None)
        assert protocol._buffer == b""


def test_a_close_between_fragments_ends_the_message_unfinished():
    result = run(server(), text("a", fin=False) + close(1000) + frame(CONTINUATION, b"b"))
    assert result.events == [Close(1000)]


def test_our_close_is_answered_and_messages_on_their_way_still_arrive():
    protocol = server()
    assert protocol.close(1001, "restart") == frame(CLOSE, b"\x03\xe9restart", key=None)
    assert protocol.state is State.CLOSING
    assert protocol.closed == Close(1001, "restart")
    result = run(protocol, text("on its way") + frame(PING, b"p") + close(1001))
    assert result.events == ["on its way", Ping(b"p"), Close(1001)]
    assert result.sent == frame(PONG, b"p", key=None)
    assert protocol.state is State.CLOSED


def test_two_closes_that_cross_end_the_handshake():
    client, other = Protocol(Role.CLIENT), server()
    from_client, from_server = client.close(3000), other.close(3001)
    assert run(other, from_client) == Run([Close(3000)], None, b"")
    assert run(client, from_server) == Run([Close(3001)], None, b"")
    assert client.state is other.state is State.CLOSED


def test_close_again_is_nothing():
    protocol = server()
    assert protocol.close()
    assert protocol.close() == b""
    run(protocol, close(1000))
    assert protocol.close() == b""


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 2000, 5000])
def test_we_never_send_a_code_that_must_not_be_sent(code):
    protocol = server()
    with pytest.raises(ValueError, match=str(code)):
        protocol.close(code)
    assert protocol.state is State.OPEN
    assert protocol.close(1005) == frame(CLOSE, key=None)


def test_a_violation_after_our_close_sends_no_second_close():
    protocol = server()
    protocol.close()
    result = run(protocol, frame(3))
    assert (result.failure, result.sent) == (1002, b"")
    assert protocol.state is State.CLOSED


def test_a_violation_is_raised_once_and_then_nothing_follows():
    protocol = server()
    protocol.receive_data(frame(3) + text("x"))
    with pytest.raises(ProtocolViolation, match="reserved"):
        protocol.next_event()
    assert protocol.next_event() is None
    protocol.receive_data(text("x"))
    assert protocol.next_event() is None
    assert protocol.closed == Close(1002, "the opcode 0x3 is reserved")


@pytest.mark.parametrize("before", [b"", text("a")[:1], text("abc")[:7], text("a", fin=False), frame(PING, b"xx")[:7]])
def test_a_peer_that_leaves_without_a_close_is_reported_as_1006(before):
    protocol = server()
    result = run(protocol, before, b"") if before else run(protocol, b"")
    assert result.events == [Close(1006)]
    assert result.sent == b""
    assert protocol.state is State.CLOSED


def test_messages_before_the_end_of_the_stream_are_reported_first():
    protocol = server()
    protocol.receive_data(text("a") + text("b"))
    protocol.receive_data(b"")
    assert [protocol.next_event() for _ in range(4)] == ["a", "b", Close(1006), None]


def test_the_end_of_the_stream_after_a_close_is_not_reported_again():
    assert run(server(), close(1000), b"").events == [Close(1000)]
    protocol = server()
    protocol.close()
    assert run(protocol, b"").events == [Close(1006)]


@pytest.mark.parametrize("end", [lambda p: p.close(4000, "why"), lambda p: run(p, close(4000, b"why"))])
def test_sending_after_either_close_is_refused_with_its_code(end):
    protocol = server()
    end(protocol)
    for send in (lambda: protocol.send("x"), lambda: protocol.send(b"x"), protocol.ping):
        with pytest.raises(ConnectionClosed, match="4000, why") as caught:
            send()
        assert (caught.value.code, caught.value.reason) == (4000, "why")
        assert isinstance(caught.value, ConnectionError)


# Sending


def test_a_server_sends_the_same_frame_to_everyone():
    for message in ("", "x" * 125, "é" * 63, "x" * 126, b"", b"x" * 125, b"x" * 65536):
        assert server().send(message) == encode_message(message)
        payload = message.encode() if isinstance(message, str) else message
        assert encode_message(message) == frame(TEXT if isinstance(message, str) else BINARY, payload, key=None)


@pytest.mark.parametrize("message", [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aabbcc")[::2]])
@pytest.mark.parametrize("role", list(Role))
def test_any_bytes_like_object_is_a_binary_message(message, role):
    other = Protocol(Role.CLIENT if role is Role.SERVER else Role.SERVER)
    assert run(other, Protocol(role).send(message)).events == [b"abc"]


@pytest.mark.parametrize("message", [None, 5, ["a"], object()])
@pytest.mark.parametrize("role", list(Role))
def test_what_is_neither_text_nor_bytes_is_a_type_error(message, role):
    with pytest.raises(TypeError, match="str or bytes"):
        Protocol(role).send(message)


def test_a_text_that_cannot_be_encoded_is_refused_and_the_connection_stays_open():
    protocol = server()
    with pytest.raises(UnicodeEncodeError):
        protocol.send("\ud800")
    assert protocol.state is State.OPEN


# Limits


@pytest.mark.parametrize("size", [100, 1000, 70000])
def test_a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not(size):
    for parts in (1, 2, 5):
        cuts = [size * i // parts for i in range(parts + 1)]
        payload = b"x" * size
        data = b"".join(
            frame(CONTINUATION if i else BINARY, payload[cuts[i] : cuts[i + 1]], fin=i == parts - 1)
            for i in range(parts)
        )
        assert run(server(max_message=size), data).events == [payload]
        result = run(server(max_message=size - 1), data)
        assert (result.events, result.failure, close_code(result.sent)) == ([], 1009, 1009)


def test_the_limit_is_enforced_on_the_announced_length_before_the_payload_comes():
    protocol = server()
    protocol.receive_data(frame(BINARY, length=1 << 40))
    with pytest.raises(MessageTooBig):
        protocol.next_event()


@pytest.mark.parametrize("size", [60, 600, 70000])
def test_the_frame_limit_holds_for_each_frame(size):
    data = frame(BINARY, b"x" * size, fin=False) + frame(CONTINUATION, b"x" * size)
    assert run(server(max_frame=size), data).events == [b"x" * 2 * size]
    assert run(server(max_frame=size - 1), data).failure == 1009
    assert run(server(max_frame=size - 1), frame(BINARY, b"x" * size)).failure == 1009


def test_without_limits_a_message_may_be_of_any_size():
    size = 3 << 20
    assert run(server(max_message=None), frame(BINARY, bytes(size))).events == [bytes(size)]
    assert run(server(), frame(BINARY, bytes(size))).failure == 1009


# 10, 12, 13. Compression


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("keep", [True, False])
def test_compressed_messages_pass_both_ways_with_any_parameters(bits, keep):
    agreed = DeflateParameters(
        server_no_context_takeover=not keep,
        client_no_context_takeover=not keep,
        server_max_window_bits=bits,
        client_max_window_bits=bits,
        threshold=0,
    )
    one, other = Protocol(Role.SERVER, deflate=agreed), Protocol(Role.CLIENT, deflate=agreed)
    for message in ("Hello" * 40, b"\x00\x01" * 600, "é" * 3000, "", b"", "x" * 70000, "Hello" * 40):
        assert run(other, one.send(message)).events == [message]
        assert run(one, other.send(message)).events == [message]


def test_short_messages_and_those_that_would_grow_go_uncompressed():
    agreed = DeflateParameters(threshold=64)
    protocol = Protocol(Role.SERVER, deflate=agreed)
    assert protocol.send("x" * 63) == frame(TEXT, b"x" * 63, key=None)
    assert protocol.send("x" * 64)[0] == 0xC1
    assert len(protocol.send("x" * 64)) < 20
    noise = random.Random(1).randbytes(100)
    assert protocol.send(noise) == frame(BINARY, noise, key=None)


def test_one_compressed_encoding_serves_everyone_without_context():
    agreed = DeflateParameters(threshold=10)
    data = encode_message("hello " * 50, agreed)
    assert data[0] == 0xC1
    for _ in range(2):
        client = Protocol(Role.CLIENT, deflate=agreed)
        assert (
            run(client, data, Protocol(Role.SERVER, deflate=agreed).send("hello " * 50), data).events
            == ["hello " * 50] * 3
        )


def test_where_the_server_keeps_its_context_the_common_encoding_is_uncompressed():
    assert encode_message("hello " * 50, KEEP) == encode_message("hello " * 50)
    protocol, client = Protocol(Role.SERVER, deflate=KEEP), Protocol(Role.CLIENT, deflate=KEEP)
    data = [protocol.send("hello " * 50), encode_message("hello " * 50, KEEP), protocol.send("hello " * 50)]
    assert [part[0] for part in data] == [0xC1, 0x81, 0xC1]
    assert run(client, *data).events == ["hello " * 50] * 3
    assert len(data[2]) < len(data[0])


def test_with_a_window_of_256_bytes_all_is_sent_uncompressed():
    agreed = DeflateParameters(server_max_window_bits=8, client_max_window_bits=8, threshold=0)
    for role in Role:
        other = Protocol(Role.CLIENT if role is Role.SERVER else Role.SERVER, deflate=agreed)
        data = Protocol(role, deflate=agreed).send("hello " * 50)
        assert data[0] == 0x81
        assert run(other, data).events == ["hello " * 50]


def refragment(data, sizes, between=b""):
    """The single short frame `data` of a client as several, with other frames in between."""
    length = data[1] & 0x7F
    key, masked = data[2:6], data[6:]
    assert len(masked) == length <= 125
    payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(masked))
    parts, position = [], 0
    for size in [*sizes, length]:
        parts.append(payload[position : position + size])
        position += size
    return between.join(
        frame(CONTINUATION if i else data[0] & 15, part, fin=i == len(parts) - 1, rsv=0 if i else 4)
        for i, part in enumerate(parts)
    )


def test_a_compressed_message_may_be_fragmented_with_control_frames_between():
    message = "hello, compressed world, hello"
    data = refragment(compressed(message), [1, 0, 5, 2], frame(PING, b"!"))
    for pieces in ([data], each_byte(data)):
        result = run(Protocol(Role.SERVER, deflate=DeflateParameters()), *pieces)
        assert result.failure is None
        assert [event for event in result.events if not isinstance(event, Ping)] == [message]
        assert result.events.count(Ping(b"!")) == 4


def test_uncompressed_messages_may_alternate_with_compressed_ones():
    client = Protocol(Role.CLIENT, deflate=KEEP)
    data = (
        client.send("one " * 9)
        + text("plain")
        + client.send("one " * 9)
        + frame(BINARY, b"b")
        + client.send(b"one " * 9)
    )
    for pieces in ([data], each_byte(data)):
        protocol = Protocol(Role.SERVER, deflate=KEEP)
        assert run(protocol, *pieces).events == ["one " * 9, "plain", "one " * 9, b"b", b"one " * 9]


@pytest.mark.parametrize(
    "data",
    [
        frame(CONTINUATION, b"x", rsv=4),
        text("a", fin=False) + frame(CONTINUATION, b"x", rsv=4),
        frame(PING, b"x", rsv=4),
        frame(CLOSE, b"", rsv=4),
        text("a", rsv=2),
        text("a", rsv=6),
    ],
)
def test_the_compression_bit_belongs_to_the_first_frame_of_a_message_only(data):
    result = run(Protocol(Role.SERVER, deflate=DeflateParameters()), data)
    assert result.failure == close_code(result.sent) == 1002


def test_a_compressed_message_without_agreement_fails_the_connection():
    assert run(server(), compressed("hello")).failure == 1002


def test_what_does_not_inflate_or_is_no_utf8_after_it_fails_with_1007():
    protocol = Protocol(Role.SERVER, deflate=DeflateParameters())
    protocol.receive_data(frame(BINARY, b"\xff\xff\xff", rsv=4))
    with pytest.raises(InvalidPayload):
        protocol.next_event()
    binary = compressed(b"\xff" * 30)
    as_text = bytes([binary[0] & 0xF0 | TEXT]) + binary[1:]
    for pieces in ([as_text], each_byte(as_text)):
        assert run(Protocol(Role.SERVER, deflate=DeflateParameters()), *pieces).failure == 1007


@pytest.mark.parametrize("excess", [0, 1])
def test_the_message_limit_counts_inflated_bytes(excess):
    data = compressed("x" * (5000 + excess))
    assert len(data) < 100
    for pieces in ([data], each_byte(data)):
        protocol = Protocol(Role.SERVER, limits=Limits(max_message=5000), deflate=DeflateParameters())
        result = run(protocol, *pieces)
        assert result.failure == (1009 if excess else None)
        assert len(result.events) == 1 - excess


def test_a_bomb_ends_the_connection_with_1009():
    data = compressed(bytes(32 << 20))
    result = run(Protocol(Role.SERVER, deflate=DeflateParameters()), data)
    assert (result.events, result.failure, close_code(result.sent)) == ([], 1009, 1009)


def test_an_idle_connection_holds_no_compression_context():
    agreed = DeflateParameters()
    protocol = Protocol(Role.SERVER, deflate=agreed)
    assert run(protocol, compressed("hello " * 300)).events == ["hello " * 300]
    protocol.send("hello " * 300)
    assert protocol._encoder is None
    assert protocol._inflater is not None
    assert protocol._inflater._context is None


def test_contexts_that_were_agreed_to_stay_are_dropped_at_the_end():
    protocol = Protocol(Role.SERVER, deflate=KEEP)
    run(protocol, compressed("hello " * 300, KEEP))
    protocol.send("hello " * 300)
    assert protocol._encoder is not None
    assert protocol._inflater is not None
    run(protocol, close(1000))
    assert protocol._encoder is None
    assert protocol._inflater is None


def test_frames_of_a_client_are_masked_with_different_keys():
    client = Protocol(Role.CLIENT)
    frames = {client.send("same") for _ in range(20)}
    assert len(frames) == 20
    assert all(data[1] & 0x80 for data in frames)
    assert build_frame(TEXT, b"same") not in frames


# The message with which a read begins, in one call


@pytest.mark.parametrize("message", ["", "a", b"", b"b"])
@pytest.mark.parametrize("behind", [b"", text("c"), text("c")[:3], frame(PING, b"p"), frame(TEXT, b"d", fin=False)])
def test_a_read_that_begins_with_a_message_gives_it_at_once_and_the_rest_later(message, behind):
    protocol = server()
    payload = message.encode() if isinstance(message, str) else message
    given = protocol.receive_message(frame(TEXT if isinstance(message, str) else BINARY, payload) + behind)
    assert given == message
    assert type(given) is type(message)
    usual = server()
    usual.receive_data(behind or frame(PING))
    events = [list(iter(each.next_event, None)) for each in (protocol, usual)]
    if not behind:
        assert (events, protocol.outgoing) == ([[], [Ping()]], b"")
        return
    assert events[0] == events[1]
    assert (protocol.outgoing, protocol._buffer) == (usual.outgoing, usual._buffer)


@pytest.mark.parametrize("before", [text("a")[:3], text("a", fin=False), text("a")])
def test_a_read_behind_something_is_received_in_its_order(before):
    protocol = server()
    protocol.receive_data(before)
    if before == text("a", fin=False):
        assert protocol.next_event() is None
    assert protocol.receive_message(text("b")) is None


def test_after_the_end_no_message_is_received():
    protocol = server()
    assert run(protocol, frame(CLOSE)).failure is None
    assert protocol.receive_message(text("late")) is None
    assert protocol.next_event() is None


def test_a_read_that_is_no_message_and_the_end_of_the_stream_are_received():
    protocol = server()
    assert protocol.receive_message(frame(PING, b"p")) is None
    assert protocol.next_event() == Ping(b"p")
    assert protocol.receive_message(b"") is None
    assert protocol.next_event() == Close(1006)
