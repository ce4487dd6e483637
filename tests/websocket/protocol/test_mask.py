from __future__ import annotations

import os

import pytest

from greenserve.websocket.protocol import mask
from tests.conftest import require_codec
from tests.wire import xor

from .wire import KEY

LIMIT = mask.INTEGER_LIMIT


@pytest.fixture(params=["python", "compiled"])
def apply_mask(request):
    return mask.apply_mask_in_python if request.param == "python" else require_codec().apply_mask


@pytest.mark.parametrize("size", [*range(20), 125, 126, LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 2, LIMIT + 3, 65539])
def test_masking_is_xor_with_the_repeated_key(apply_mask, size):
    data = os.urandom(size)
    for key in (KEY, b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x01", b"\x80\0\0\0"):
        masked = apply_mask(data, key)
        assert type(masked) is bytes
        assert masked == xor(data, key)
        assert apply_mask(masked, key) == data


@pytest.mark.parametrize("size", [5, LIMIT * 2])
def test_any_bytes_like_object_is_masked(apply_mask, size):
    data = os.urandom(size)
    for given in (bytearray(data), memoryview(data)[:]):
        assert apply_mask(given, KEY) == xor(data, KEY)


@pytest.mark.parametrize("cut", range(12))
def test_the_rotated_key_continues_a_payload(cut):
    data = os.urandom(12)
    first = mask.apply_mask(data[:cut], KEY)
    assert first + mask.apply_mask(data[cut:], mask.rotate(KEY, cut)) == xor(data, KEY)


@pytest.mark.parametrize("start", range(9))
@pytest.mark.parametrize("size", [0, 3, 31, 32, 33, 65539])
def test_a_misaligned_piece_of_a_buffer_is_masked(apply_mask, start, size):
    data = os.urandom(start + size + 5)
    assert apply_mask(memoryview(data)[start : start + size], KEY) == xor(data[start : start + size], KEY)


@pytest.mark.parametrize(
    "arguments", [(), (b"data",), (b"data", b"key"), (b"data", b"five5"), (b"data", bytearray(4)), (b"", KEY, 0)]
)
def test_the_compiled_function_refuses_what_is_no_key(arguments):
    with pytest.raises(TypeError, match="four bytes"):
        require_codec().apply_mask(*arguments)


@pytest.mark.parametrize(
    ("data", "error"), [("text", TypeError), (None, TypeError), (memoryview(b"abcd")[::2], BufferError)]
)
def test_the_compiled_function_refuses_what_is_not_bytes_in_a_row(data, error):
    with pytest.raises(error):
        require_codec().apply_mask(data, KEY)
