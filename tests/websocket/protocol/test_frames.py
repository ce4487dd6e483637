from __future__ import annotations

import pytest

from greenserve.websocket.protocol.errors import ProtocolViolation
from greenserve.websocket.protocol.frames import Opcode, build_frame, parse_head
from tests.wire import xor

from .wire import KEY, frame


# RFC 6455 §5.7
@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (build_frame(Opcode.TEXT, b"Hello"), bytes.fromhex("810548656c6c6f")),
        (build_frame(Opcode.TEXT, b"Hel", fin=False), bytes.fromhex("010348656c")),
        (build_frame(Opcode.CONTINUATION, b"lo"), bytes.fromhex("80026c6f")),
        (build_frame(Opcode.PING, b"Hello"), bytes.fromhex("890548656c6c6f")),
        (build_frame(Opcode.BINARY, b"a" * 256), bytes.fromhex("827e0100") + b"a" * 256),
        (build_frame(Opcode.BINARY, b"a" * 65536), bytes.fromhex("827f0000000000010000") + b"a" * 65536),
    ],
)
def test_the_examples_of_the_rfc_are_built(built, expected):
    assert built == expected


def test_the_masked_example_of_the_rfc_is_read():
    head = parse_head(bytes.fromhex("818537fa213d7f9f4d5158"), 0, masked=True, compression=False)
    assert head == (True, False, Opcode.TEXT, 5, KEY, 6)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("masked", [True, False])
def test_what_is_built_is_read_back(size, masked):
    payload = b"p" * size
    data = build_frame(Opcode.BINARY, payload, mask=masked, fin=False, rsv1=True)
    head = parse_head(b"??" + data, 2, masked=masked, compression=True)
    assert head is not None
    assert (head.fin, head.rsv1, head.opcode, head.length) == (False, True, Opcode.BINARY, size)
    assert len(data) == head.start - 2 + size
    rest = data[head.start - 2 :]
    assert (xor(rest, head.key) if masked else rest) == payload


def test_each_masked_frame_has_its_own_key():
    keys = {build_frame(Opcode.TEXT, b"", mask=True)[2:6] for _ in range(50)}
    assert len(keys) == 50


@pytest.mark.parametrize("size", [0, 125, 126, 65536])
def test_an_incomplete_head_waits_for_more(size):
    data = frame(Opcode.BINARY, b"x" * size)
    start = len(data) - size
    for cut in range(start):
        assert parse_head(data[:cut], 0, masked=True, compression=False) is None
    assert parse_head(data[:start], 0, masked=True, compression=False) is not None


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_a_reserved_opcode_is_a_violation(opcode):
    with pytest.raises(ProtocolViolation, match="reserved"):
        parse_head(frame(opcode), 0, masked=True, compression=True)


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", list(Opcode))
def test_a_reserved_bit_is_a_violation_unless_it_starts_a_compressed_message(opcode, rsv):
    data = frame(opcode, rsv=rsv)
    with pytest.raises(ProtocolViolation):
        parse_head(data, 0, masked=True, compression=False)
    if rsv == 4 and opcode in (Opcode.TEXT, Opcode.BINARY):
        head = parse_head(data, 0, masked=True, compression=True)
        assert head is not None
        assert head.rsv1
    else:
        with pytest.raises(ProtocolViolation):
            parse_head(data, 0, masked=True, compression=True)


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_a_control_frame_is_neither_fragmented_nor_long(opcode):
    with pytest.raises(ProtocolViolation, match="fragmented"):
        parse_head(frame(opcode, fin=False), 0, masked=True, compression=False)
    for size in (126, 65536):
        with pytest.raises(ProtocolViolation, match="125"):
            parse_head(frame(opcode, b"x" * size)[:2], 0, masked=True, compression=False)


def test_masking_is_demanded_of_clients_and_refused_of_servers():
    with pytest.raises(ProtocolViolation, match="not masked"):
        parse_head(frame(Opcode.TEXT, key=None), 0, masked=True, compression=False)
    with pytest.raises(ProtocolViolation, match="is masked"):
        parse_head(frame(Opcode.TEXT), 0, masked=False, compression=False)


@pytest.mark.parametrize(
    "length",
    ["fe0000", "fe007d", "ff0000000000000000", "ff000000000000ffff", "ff8000000000000000", "ffffffffffffffffff"],
)
def test_a_length_must_be_in_fewest_bytes_and_below_2_to_63(length):
    with pytest.raises(ProtocolViolation, match="length"):
        parse_head(b"\x82" + bytes.fromhex(length), 0, masked=True, compression=False)
