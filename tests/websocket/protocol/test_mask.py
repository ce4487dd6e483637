from __future__ import annotations

import os

import pytest

from greenserve.websocket.protocol import mask
from tests.wire import xor

from .wire import KEY

ACCELERATED = pytest.param(
    mask.apply_mask,
    id="accelerated",
    marks=pytest.mark.skipif(mask.ACCELERATOR == "python", reason="no accelerator here"),
)
BOTH = pytest.mark.parametrize("apply_mask", [pytest.param(mask.apply_mask_in_python, id="python"), ACCELERATED])
LIMIT = mask.INTEGER_LIMIT


@BOTH
@pytest.mark.parametrize("size", [*range(20), 125, 126, LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 2, LIMIT + 3, 65539])
def test_masking_is_xor_with_the_repeated_key(apply_mask, size):
    data = os.urandom(size)
    for key in (KEY, b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x01", b"\x80\0\0\0"):
        masked = apply_mask(data, key)
        assert type(masked) is bytes
        assert masked == xor(data, key)
        assert apply_mask(masked, key) == data


@BOTH
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


def test_without_the_accelerator_python_masks(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(mask, "import_module", missing)
    assert mask._fastest() == ("python", mask.apply_mask_in_python)
