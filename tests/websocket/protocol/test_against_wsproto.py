"""wsproto as the judge: on any stream, however cut, our protocol reports the same messages and the same failures.

Three differences are known: we take the code 1014 (registered at IANA), we refuse an encoded surrogate at its second
byte instead of its third, and wsproto 1.3 loses the rest of a compressed message when a control frame comes in the
middle of it.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from greenserve.websocket.protocol import Limits, Protocol, Role
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.protocol.events import Close, Ping, Pong
from tests.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

from .wire import KEY, Run, frame, run

UNLIMITED = Limits(max_message=None)
# Completes every head that a stream may end in, so that neither side still waits where the other could tell already.
PADDING = bytes(16)


def judge(data: bytes, *, client: bool, deflate: DeflateParameters | None = None) -> Run:
    """What wsproto makes of a stream that `client` (or a server) receives."""
    protocol = wsproto_side(client=client, deflate=deflate)
    protocol.receive_bytes(data)
    events, parts = [], []
    try:
        for received in protocol.received_frames():
            if received.opcode is Opcode.PING:
                events.append(Ping(received.payload))
            elif received.opcode is Opcode.PONG:
                events.append(Pong(received.payload))
            elif received.opcode is Opcode.CLOSE:
                code, reason = received.payload
                return Run([*events, Close(int(code), reason or "")], None, b"")
            else:
                parts.append(received.payload)
                if received.message_finished:
                    events.append(parts[0][:0].join(parts))
                    parts = []
                elif _holds_a_surrogate(protocol):
                    return Run(events, 1007, b"")
    except ParseFailed as error:
        if "unknown reserved code" in str(error) and b"\x03\xf6" in _unmasked_tail(data):
            return Run([*events, "1014"], None, b"")
        return Run(events, int(error.code), b"")
    return Run(events, None, b"")


def wsproto_side(*, client: bool, deflate: DeflateParameters | None = None) -> FrameProtocol:
    extensions = []
    if deflate is not None:
        extension = PerMessageDeflate(
            deflate.client_no_context_takeover,
            deflate.client_max_window_bits,
            deflate.server_no_context_takeover,
            deflate.server_max_window_bits,
        )
        extension._enabled = True
        extensions.append(extension)
    return FrameProtocol(client, extensions)


def _holds_a_surrogate(protocol: FrameProtocol) -> bool:
    decoder = protocol._message_decoder.decoder
    tail = decoder.getstate()[0] if decoder is not None else b""
    return len(tail) == 2 and tail[0] == 0xED and tail[1] >= 0xA0


def _unmasked_tail(data: bytes) -> bytes:
    # Every phase of the key and of no key: precise enough to recognise a code.
    return data + b"".join(bytes(b ^ KEY[(i + phase) % 4] for i, b in enumerate(data)) for phase in range(4))


def ours(pieces: list[bytes], *, client: bool, deflate: DeflateParameters | None = None) -> Run:
    result = run(Protocol(Role.CLIENT if client else Role.SERVER, limits=UNLIMITED, deflate=deflate), *pieces)
    result.sent = b""
    return result


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


payloads = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=8).map(str.encode),
    st.sampled_from(
        [b"", b"x" * 125, b"x" * 126, "€".encode() * 42, b"\xed\xa0", b"\xf4\x90", b"\xe2\x82", bytes(65536)]
    ),
)
codes = st.one_of(st.integers(998, 1017), st.integers(2998, 5001), st.integers(0, 65535)).filter(
    lambda code: code != 1014
)
close_payloads = st.one_of(
    st.builds(lambda code, reason: code.to_bytes(2) + reason, codes, payloads.filter(lambda p: len(p) < 200)),
    st.binary(max_size=1),
)


@st.composite
def frames(draw: st.DrawFn, *, client: bool) -> bytes:
    """Mostly valid frames, with every kind of fault now and then."""
    opcode = draw(st.sampled_from([TEXT, TEXT, BINARY, CONTINUATION, CONTINUATION, PING, PONG]))
    payload = draw(payloads)
    fin, rsv, masked = draw(st.sampled_from([True, True, False])), 0, not client
    match draw(st.integers(0, 20)):
        case 0:
            opcode, payload = CLOSE, draw(close_payloads)
        case 1:
            opcode = draw(st.integers(0, 15))
        case 2:
            rsv = draw(st.integers(0, 7))
        case 3:
            masked = draw(st.booleans())
        case _:
            pass
    if opcode >= CLOSE and draw(st.integers(0, 9)):
        fin, payload = True, payload[:125]
    key = draw(st.sampled_from([KEY, bytes(4)])) if masked else None
    wide = draw(st.sampled_from([0] * 20 + [2, 8]))
    return frame(opcode, payload, fin=fin, rsv=rsv, key=key, wide=wide)


@st.composite
def streams(draw: st.DrawFn, *, client: bool) -> bytes:
    data = bytearray(b"".join(draw(st.lists(frames(client=client), max_size=8))))
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        if data:
            place = draw(st.integers(0, len(data) - 1))
            match draw(st.integers(0, 2)):
                case 0:
                    data[place] ^= 1 << draw(st.integers(0, 7))
                case 1:
                    del data[place]
                case _:
                    data.insert(place, draw(st.integers(0, 255)))
    return bytes(data)


both_sides = st.booleans().flatmap(lambda client: st.tuples(st.just(client), streams(client=client)))


@given(both_sides, st.lists(st.integers(0, 1 << 20), max_size=6))
@settings(max_examples=400)
@example((True, b"\x81\x7f\x40" + bytes(9)), [])
@example((False, frame(TEXT, b"a\xed\xa0", fin=False)), [])
@example((False, frame(TEXT, b"a\xed\xa0", fin=False) + frame(CONTINUATION, b"")), [3])
@example((False, frame(TEXT, b"x", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"y") + frame(CLOSE)), [9])
def test_any_stream_means_the_same_to_us_and_to_wsproto(side, places):
    client, data = side
    data += PADDING
    theirs = judge(data, client=client)
    if theirs.events[-1:] == ["1014"]:
        return
    event(f"failure {theirs.failure}")
    assert ours([data], client=client) == theirs
    assert ours(cut(data, places), client=client) == theirs


@given(both_sides)
@settings(max_examples=100)
def test_a_stream_means_the_same_byte_by_byte_and_whole(side):
    client, data = side
    data = data[:2000] + PADDING
    assert ours([data], client=client) == ours(cut(data, list(range(len(data)))), client=client)


def test_1014_is_taken():
    data = frame(CLOSE, (1014).to_bytes(2))
    assert ours([data], client=False) == Run([Close(1014)], None, b"")
    assert judge(data, client=False) == Run(["1014"], None, b"")


messages = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.builds(lambda part, times: part * times, st.text(min_size=1, max_size=30), st.integers(1, 3000)),
)
parameters = st.builds(
    DeflateParameters,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=st.integers(9, 15),
    client_max_window_bits=st.integers(9, 15),
    threshold=st.sampled_from([0, 20]),
)
agreements = st.one_of(st.none(), parameters)
places = st.lists(st.integers(0, 1 << 20), max_size=6)


@given(st.lists(messages, max_size=6), agreements, st.booleans(), places)
def test_wsproto_reads_what_we_send(sent, deflate, client, places):
    protocol = Protocol(Role.CLIENT if client else Role.SERVER, deflate=deflate)
    data = b"".join([*map(protocol.send, sent), protocol.ping(b"p"), protocol.close(3000, "bye")])
    expected = [*sent, Ping(b"p"), Close(3000, "bye")]
    assert judge(data, client=not client, deflate=deflate) == Run(expected, None, b"")
    # And so does our other side.
    assert ours(cut(data, places), client=not client, deflate=deflate) == Run(expected, None, b"")


@given(st.lists(st.tuples(messages, st.integers(1, 4)), max_size=6), agreements, st.booleans(), places)
def test_we_read_what_wsproto_sends_in_any_fragments(sent, deflate, client, places):
    protocol = wsproto_side(client=client, deflate=deflate)
    data = b""
    for message, parts in sent:
        step = len(message) // parts + 1
        for start in range(0, max(len(message), 1), step):
            data += protocol.send_data(message[start : start + step], fin=start + step >= max(len(message), 1))
        data += protocol.ping(b"between")
    data += protocol.close(1001)
    expected = [each for message, _ in sent for each in (message, Ping(b"between"))] + [Close(1001)]
    assert ours(cut(data, places), client=not client, deflate=deflate) == Run(expected, None, b"")


@given(st.lists(messages, min_size=1, max_size=3), parameters, st.integers(0, 1 << 20), st.integers(0, 7), places)
def test_damaged_compressed_messages_give_the_same_verdict_however_they_are_cut(sent, deflate, place, bit, places):
    data = bytearray(b"".join(map(Protocol(Role.CLIENT, deflate=deflate).send, sent)))
    data[place % len(data)] ^= 1 << bit
    data = bytes(data) + PADDING
    assert ours(cut(data, places), client=False, deflate=deflate) == ours([data], client=False, deflate=deflate)


def test_a_compressed_message_with_a_ping_in_it_stays_whole_where_wsproto_loses_it():
    agreed = DeflateParameters(threshold=0)
    whole = Protocol(Role.SERVER, deflate=agreed).send("hello, hello, hello")
    payload = whole[2:]
    data = (
        frame(TEXT, payload[:4], fin=False, rsv=4, key=None)
        + frame(PING, key=None)
        + frame(CONTINUATION, payload[4:], key=None)
    )
    assert ours([data], client=True, deflate=agreed) == Run([Ping(), "hello, hello, hello"], None, b"")
