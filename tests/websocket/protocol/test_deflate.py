from __future__ import annotations

import io
import random
import tracemalloc
import zlib

import pytest

from greenserve.websocket.protocol import deflate
from greenserve.websocket.protocol.deflate import MAX_RESTARTS, DeflateParameters, Deflater, Inflater
from greenserve.websocket.protocol.errors import InvalidPayload, MessageTooBig

LIMIT = 1 << 20


def inflate(inflater, payload, limit=LIMIT):
    message = io.BytesIO()
    for _ in inflater.inflate(payload, message, limit):
        pass
    return message.getvalue()


# RFC 7692 §7.2.3
@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("f248cdc9c90700", b"Hello"),
        ("000500faff48656c6c6f00", b"Hello"),
        ("f348cdc9c9070000", b"Hello"),  # with a final block
        ("f248050000 00ffff cac9c90700".replace(" ", ""), b"Hello"),  # two blocks in one message
        ("00", b""),
    ],
)
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("step", [1, 2, 4096])
def test_the_examples_of_the_rfc_inflate_however_they_are_cut(payload, expected, takeover, step, monkeypatch):
    monkeypatch.setattr(deflate, "INPUT_STEP", step)
    data = bytes.fromhex(payload)
    inflater = Inflater(15, takeover=takeover)
    assert inflate(inflater, data) == expected
    assert inflate(inflater, data) == expected


def test_context_is_taken_over_between_messages():
    # RFC 7692 §7.2.3.2: the second Hello refers to the first.
    inflater = Inflater(15, takeover=True)
    assert inflate(inflater, bytes.fromhex("f248cdc9c90700")) == b"Hello"
    assert inflate(inflater, bytes.fromhex("f200110000")) == b"Hello"


def test_without_takeover_a_reference_to_the_last_message_is_invalid():
    inflater = Inflater(15, takeover=False)
    inflate(inflater, bytes.fromhex("f248cdc9c90700"))
    with pytest.raises(InvalidPayload):
        inflate(inflater, bytes.fromhex("f200110000"))


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("takeover", [True, False])
def test_what_is_deflated_inflates_again_with_any_window(bits, takeover):
    deflater = Deflater(bits, takeover=takeover, level=3, memory_level=5)
    inflater = Inflater(bits, takeover=takeover)
    message = random.Random(bits).randbytes(100)  # short enough for every window to reach back over it
    sizes = []
    for _ in range(3):
        payload = deflater.compress(message)
        sizes.append(len(payload))
        assert inflate(inflater, payload) == message
    assert (sizes[1] < sizes[0]) is takeover


def test_a_deflater_without_takeover_gives_the_same_bytes_each_time():
    deflater = Deflater(12, takeover=False, level=3, memory_level=5)
    assert deflater.compress(b"abc" * 100) == deflater.compress(b"abc" * 100)


@pytest.mark.parametrize("excess", [-1, 0, 1])
@pytest.mark.parametrize("step", [1, 4096])
def test_the_limit_counts_inflated_bytes_exactly(excess, step, monkeypatch):
    monkeypatch.setattr(deflate, "INPUT_STEP", step)
    payload = Deflater(15, takeover=False, level=6, memory_level=8).compress(b"z" * (5000 + excess))
    if excess > 0:
        with pytest.raises(MessageTooBig) as caught:
            inflate(Inflater(15, takeover=False), payload, 5000)
        assert caught.value.code == 1009
    else:
        assert len(inflate(Inflater(15, takeover=False), payload, 5000)) == 5000 + excess


def test_a_bomb_is_cut_at_the_limit_and_not_at_the_end_of_memory():
    bomb = Deflater(15, takeover=False, level=9, memory_level=9).compress(bytes(64 << 20))
    assert len(bomb) < 70_000
    message = io.BytesIO()
    tracemalloc.start()
    try:
        with pytest.raises(MessageTooBig):
            for _ in Inflater(15, takeover=False).inflate(bomb, message, LIMIT):
                pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message.tell() <= LIMIT
    assert peak < 4 * LIMIT


def test_garbage_is_an_invalid_payload():
    with pytest.raises(InvalidPayload) as caught:
        inflate(Inflater(15, takeover=False), b"\xff\xff\xff\xff")
    assert caught.value.code == 1007


def final_block(data):
    context = zlib.compressobj(wbits=-15)
    return context.compress(data) + context.flush(zlib.Z_FINISH)


def test_text_after_a_final_block_may_refer_to_the_text_before_it():
    before = b"a sentence that comes twice"
    context = zlib.compressobj(wbits=-15, zdict=before)
    second = context.compress(before) + context.flush(zlib.Z_SYNC_FLUSH)
    assert inflate(Inflater(15, takeover=True), final_block(before) + second[:-4]) == before * 2


def test_a_message_of_many_empty_streams_is_refused_before_it_costs_time():
    payload = final_block(b"") * (MAX_RESTARTS + 1)
    with pytest.raises(InvalidPayload, match="final blocks"):
        inflate(Inflater(15, takeover=False), payload + b"\0")


def test_the_count_of_final_blocks_begins_anew_with_each_message():
    inflater = Inflater(15, takeover=True)
    payload = final_block(b"x") * (MAX_RESTARTS // 2 + 1) + b"\0"
    for _ in range(3):
        assert inflate(inflater, payload) == b"x" * (MAX_RESTARTS // 2 + 1)


def test_parameters_name_the_windows_of_both_sides(monkeypatch):
    parameters = DeflateParameters(
        server_no_context_takeover=False,
        client_no_context_takeover=True,
        server_max_window_bits=9,
        client_max_window_bits=15,
    )
    twice = random.Random(1).randbytes(2048) * 2  # 2 KiB apart: out of the server's reach, within the client's
    server, client = parameters.deflater(server=True), parameters.deflater(server=False)
    assert server is not None
    assert client is not None
    near, far = server.compress(twice), client.compress(twice)
    assert len(far) < 2500 < 4000 < len(near)
    assert inflate(parameters.inflater(server=True), near) == twice
    assert inflate(parameters.inflater(server=False), far) == twice
    monkeypatch.setattr(deflate, "INPUT_STEP", 1)  # zlib reaches back into the output of one call, whatever the window
    with pytest.raises(InvalidPayload):
        inflate(parameters.inflater(server=True), far)


def test_zlib_cannot_compress_with_a_window_of_256_bytes_so_there_is_no_deflater():
    assert DeflateParameters(server_max_window_bits=8).deflater(server=True) is None
    assert DeflateParameters(client_max_window_bits=8).deflater(server=False) is None
