"""The compiled functions and their twins in Python, and the inputs with which a fuzzer holds them to each other.

Law: both return the same for the same arguments: equal, of the same types, in the same order. Every input follows from
the seed, so that what was found is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

from greenserve.websocket.protocol.mask import apply_mask_in_python
from tests.fuzz.engine import TOKENS, Mutator, read_corpus
from tests.http.cases import ALL

Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Twins:
    """One function. module: of the twin in Python, named as the compiled one with "_in_python". share: of all inputs.

    as_given: what the compiled function gets for `arguments`, where that is more than these.
    """

    module: str
    inputs: Callable[[int], Iterator[Arguments]]
    share: float
    as_given: Callable[[Arguments], Arguments] = tuple


class Differs(Exception):
    """The two do not give the same; the text has the call, as Python would write it, and what each returns."""


def play(name: str, compiled: ModuleType, inputs: int, seed: int) -> int:
    """Give so many inputs to both. Returns how many of them both judged, instead of returning None. Raises Differs."""
    twins = TWINS[name]
    in_python, in_c = getattr(import_module(twins.module), f"{name}_in_python"), getattr(compiled, name)
    judged = 0
    for arguments in islice(twins.inputs(seed), inputs):
        expected, got = in_python(*arguments), in_c(*twins.as_given(arguments))
        if expected is not None:
            judged += 1
        elif got is None:
            continue
        if expected != got or repr(expected) != repr(got):
            raise Differs(f"{name}{arguments!r}\n  in Python: {expected!r}\n  compiled:  {got!r}")
    return judged


def functions(compiled: ModuleType) -> list[str]:
    """The names of what the compiled codec has."""
    return [name for name, value in vars(compiled).items() if callable(value) and not name.startswith("_")]


def kept(name: str) -> list[Any]:
    """What the inputs are made of: texts or bytes."""
    return read_corpus(name, Path(__file__).parent / "corpus")


# -- request heads

REAL = kept("heads")
HEADS = [*kept("odd_heads"), *read_corpus("head"), *read_corpus("connection"), *(case.raw for case in ALL)]
LIMITS = (65536, 8192, 32, 100)  # max_head, max_target, max_method, max_header_count


HOSTS = (
    b"a",
    b"a",
    b"a",
    b"a:1",
    b"A-z.0:65535",
    b"a:123456",
    b"a:",
    b"127.0.0.1:80",
    b"[::1]",
    b"[::1]:80",
    b"",
    b"a b",
    b"a_b",
    b"a..b",
)


def heads(seed: int) -> Iterator[Arguments]:
    """Heads, mutated, and put together anew of lines, mostly of real ones: whole, cut, and in the midst of others."""
    random = Random(seed)
    tokens = read_corpus("http", TOKENS)
    for mutated, other in zip(Mutator(REAL, tokens, seed), Mutator(HEADS, tokens, seed), strict=True):
        first, fields = _LINES[random.random() < 0.1]
        some = [random.choice(fields) for _ in range(int(random.random() ** 2 * 12))]
        line = random.choice(first) if random.random() < 0.7 else _request_line(random)
        made = b"\r\n".join([line, b"Host: " + random.choice(HOSTS), *some, b"\r\n"])
        for head in (mutated, made, other):
            yield head, 0, *LIMITS
        cut = random.choice((mutated, made))
        yield cut[: int(random.random() * len(cut))], 0, *LIMITS
        # At the limits, or one beyond.
        limits = (len(made), len(made.split(b" ")[1]), made.index(b" "), made.count(b"\r\n") - 2)
        yield other + made, len(other), *(limit - (random.random() < 0.1) for limit in limits)
        yield made + mutated, random.choice((len(made), int(random.random() * len(made)))), *LIMITS


def _request_line(random: Random) -> bytes:
    """With a target of any octets, many of them in percent-encoding."""
    digits = b"0189AFGZafgz/:@`"
    pieces = [b"%%%c%c" % (random.choice(digits), random.choice(digits)) for _ in range(int(random.random() * 5))]
    pieces += [random.choice((b"a", b"/", b"?", b"=", b"%", random.randbytes(1)))]
    random.shuffle(pieces)
    return b"%b /%b HTTP/1.%b" % (
        random.choice((b"GET", b"PURGE", b"get", b"M-S")),
        b"".join(pieces),
        random.choice((b"1", b"0")),
    )


def _lines(heads: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Their request lines, and the lines of their fields."""
    lines = sorted({line for head in heads for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")})
    first = [line for line in lines if b" HTTP/" in line]
    return first, [line for line in lines if b":" in line and line not in first and not line.startswith(b"Host:")]


_LINES = (_lines(REAL), _lines(HEADS))


# -- responses

STATUSES, NAMES, VALUES = (kept(name) for name in ("statuses", "names", "values"))


class Text(str):
    """A subclass of str, which is not plain."""

    def __repr__(self) -> str:
        return f"Text({str.__repr__(self)})"


class Pair(tuple[str, str]):
    """A subclass of tuple, which is not plain."""

    def __repr__(self) -> str:
        return f"Pair({tuple.__repr__(self)})"


CHARACTERS = "".join(map(chr, range(0x82))) + "\xa0\xad\xe9\xff\u0100\u0130\u0131\u017f\u2028\u212a\ufeff\U0001f600"
ODD = [None, 5, b"a", Text("a"), ("a",), ("a", "b", "c"), ["a", "b"], ("a", b"b"), (Text("a"), "b"), ("a", Text("b"))]
ODD += [(), (b"a", "b"), ("a", 5), (None, None), "ab", Pair(("a", "b"))]


def responses(seed: int) -> Iterator[Arguments]:
    """What applications give to start_response, some of it a little wrong."""
    random = Random(seed)

    def text(known: list[str]) -> str:
        chosen = random.choice(known)
        if random.random() < 0.04:
            at = int(random.random() * (len(chosen) + 1))
            chosen = chosen[:at] + random.choice(CHARACTERS) + chosen[at + (random.random() < 0.5) :]
        return chosen.swapcase() if random.random() < 0.05 else chosen

    while True:
        status: Any = text(STATUSES[:8] if random.random() < 0.7 else STATUSES)
        names, values = (NAMES[:14], VALUES[:8]) if random.random() < 0.7 else (NAMES, VALUES)
        headers: Any = [(text(names), text(values)) for _ in range(int(random.random() ** 2 * 9))]
        yield status, headers
        if headers and random.random() < 0.1:
            headers = [*headers, random.choice(headers)]
        if random.random() < 0.05:
            headers = [*headers, random.choice(ODD)]
        elif random.random() < 0.02:
            headers = random.choice([tuple(headers), dict(headers), None, "ab"])
        if random.random() < 0.02:
            status = random.choice([None, 200, b"200 OK", Text("200 OK")])
        yield status, headers


# -- WebSocket

TEXTS = kept("texts")
SIZES = (0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 95, 96, 97, 124, 125, 126, 127, 128, 1023, 1024, 1025)


def _size(random: Random) -> int:
    """Mostly short: now and then at a border, rarely one of those of two bytes' lengths."""
    chance = random.random()
    if chance < 0.7:
        return int(random.random() * 140)
    return random.choice(SIZES) if chance < 0.999 else random.choice((65535, 65536, 65534))


def payloads(seed: int) -> Iterator[Arguments]:
    """Payloads with keys, each at an odd place in memory."""
    random = Random(seed)
    while True:
        yield random.randbytes(_size(random)), random.randbytes(4)


def messages(seed: int) -> Iterator[Arguments]:
    """What an application sends: a server's, without a key, or a client's."""
    random = Random(seed)
    while True:
        message: Any = random.randbytes(_size(random))
        if random.random() < 0.5:
            known, most = (TEXTS, 4) if random.random() < 0.6 else (list(CHARACTERS), 130)
            message = "".join(map(random.choice, [known] * int(random.random() * most)))
        elif random.random() < 0.03:
            message = random.choice([None, 5, bytearray(b"a"), Text("a")])
        yield message, random.choice((b"", random.randbytes(4)))


def frames(seed: int) -> Iterator[Arguments]:
    """Frames of a whole message and of others: whole, cut, mutated, and in the midst of others."""
    random = Random(seed)
    mutator = Mutator([data[1:] for data in read_corpus("websocket")], read_corpus("frames", TOKENS), seed)
    while True:
        masked = random.random() < 0.7
        text = "".join(map(random.choice, [TEXTS] * int(random.random() * 3))).encode("utf-8", "surrogatepass")
        payload = text if random.random() < 0.5 else random.randbytes(_size(random))
        head = random.choice((0x81, 0x82, 0x81, 0x82, int(random.random() * 256)))
        key = random.randbytes(4) if masked else b""
        frame = frame_of(head, payload, key, longer=random.random() < 0.03)
        yield frame, 0, masked, 0xFFFF
        yield frame[: int(random.random() * len(frame))], 0, masked, 0xFFFF
        at = int(random.random() * (len(frame) + 3))
        yield frame + frame + frame[:3], at, random.random() < 0.5, int(random.random() * 300)
        yield frame[:3] + frame + b"x", 3, masked, len(payload) - (random.random() < 0.3)
        mutated = next(mutator)
        yield mutated, int(random.random() * 3), masked, 2000
        damaged = bytearray(frame)
        damaged[int(random.random() * min(len(frame), 12))] = int(random.random() * 256)
        yield bytes(damaged), 0, masked, 0xFFFF


def frame_of(head: int, payload: bytes, key: bytes, *, longer: bool) -> bytes:
    """longer: with a length of two bytes, whatever it is."""
    size, bit = len(payload), 0x80 if key else 0
    if size > 0xFFFF:
        length = bytes((bit | 127,)) + size.to_bytes(8, "big")
    elif size > 125 or longer:
        length = bytes((bit | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((bit | size,))
    return bytes((head,)) + length + key + (apply_mask_in_python(payload, key) if key else payload)


TWINS: dict[str, Twins] = {
    "plain_head": Twins("greenserve.http.plain_head", heads, 0.5),
    "plain_response": Twins("greenserve.http.response_headers", responses, 0.3),
    "plain_message": Twins("greenserve.websocket.protocol.plain", frames, 0.1),
    "plain_frame": Twins("greenserve.websocket.protocol.plain", messages, 0.05),
    "apply_mask": Twins(
        "greenserve.websocket.protocol.mask",
        payloads,
        0.05,
        lambda arguments: (memoryview(b"x" + arguments[0])[1:], arguments[1]),
    ),
}
