from __future__ import annotations

import pytest

from greenserve.websocket.protocol.close import MAX_REASON, CloseCode, close_payload, is_valid_close_code, parse_close
from greenserve.websocket.protocol.errors import InvalidPayload, ProtocolViolation

VALID = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", VALID)
def test_a_valid_code_is_sent_and_read(code):
    assert is_valid_close_code(code)
    assert parse_close(close_payload(code, "good bye")) == (code, "good bye")
    assert parse_close(close_payload(code)) == (code, "")


@pytest.mark.parametrize("code", INVALID)
def test_a_code_that_must_not_be_sent_is_refused_both_ways(code):
    assert not is_valid_close_code(code)
    with pytest.raises(ValueError, match=str(code)):
        close_payload(code, "why")
    with pytest.raises(ProtocolViolation):
        parse_close(code.to_bytes(2))


def test_no_status_is_an_empty_payload():
    assert close_payload(CloseCode.NO_STATUS) == b""
    assert parse_close(b"") == (1005, "")


def test_half_a_code_is_a_violation():
    with pytest.raises(ProtocolViolation, match="half"):
        parse_close(b"\x03")


def test_a_reason_that_is_not_utf8_is_refused_with_1007():
    with pytest.raises(InvalidPayload) as caught:
        parse_close(b"\x03\xe8\xff")
    assert caught.value.code == 1007


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
def test_a_long_reason_is_cut_between_characters(character):
    payload = close_payload(1000, character * 200)
    code, reason = parse_close(payload)
    assert len(payload) <= 125
    assert reason == character * (MAX_REASON // len(character.encode()))
    assert code == 1000
