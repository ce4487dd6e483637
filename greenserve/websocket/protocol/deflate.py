"""permessage-deflate (RFC 7692): its negotiation, and the two zlib contexts of a connection, made when first needed.

Compression can be turned into a weapon: a kilobyte may inflate to a megabyte. So inflating stops AT the limit (zlib's
max_length), not when memory has run out, and goes in small steps, between which other green threads run.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from typing import Any, Final

from wsproto.extensions import Extension
from wsproto.handshake import server_extensions_handshake

from greenserve.websocket.protocol.errors import InvalidPayload, MessageTooBig

# RFC 7692 §7.2.1: the end of a flush, left out on the wire.
TAIL: Final = b"\x00\x00\xff\xff"
MAX_WINDOW_BITS: Final = 15
# RFC 7692 allows 8, but zlib cannot compress a raw stream with a window of 256 bytes.
MIN_DEFLATE_BITS: Final = 9
# A stream may end (BFINAL) and another begin inside a message, RFC 7692 §7.2.3.4. Each restart copies the window, so a
# message made of thousands of empty streams would cost much time. Real peers send one at most.
MAX_RESTARTS: Final = 16
INPUT_STEP: Final = (
    4096  # bytes: three hundred blocks of a few bytes, each with tables of its own, take half a millisecond
)
OUTPUT_STEP: Final = 16384  # bytes: a hundred connections may each take a step before anything else runs
DEFLATE_STEP: Final = 16384  # bytes or characters: 0.2 ms


@dataclass(frozen=True, slots=True)
class DeflateParameters:
    """What both sides agreed on (RFC 7692 §7.1), and how this side compresses.

    level and memory_level are zlib's, 1-9. A compressor costs 2^(window bits + 2) + 2^(memory_level + 9) bytes, an
    inflater 7 KB + 2^(window bits), for as long as its context is kept. threshold, bytes: shorter messages are sent as
    they are.

    The defaults are a server's. No context is kept between messages, so an idle connection holds none (39 KB otherwise,
    and 5,000 of them 200 MB), and a broadcast is compressed once for all its recipients; the price is a weaker
    compression of short messages that resemble each other. A window of 4 KiB and level 3 were measured on JSON of 1 KiB
    to 1 MiB: half the time of zlib's defaults or less, for a tenth more bytes. Under 1 KiB nothing is won: it is one
    packet either way.
    """

    server_no_context_takeover: bool = True
    client_no_context_takeover: bool = True
    server_max_window_bits: int = 12
    client_max_window_bits: int = MAX_WINDOW_BITS
    level: int = 3
    memory_level: int = 5
    threshold: int = 1024

    def deflater(self, *, server: bool) -> Deflater | None:
        """A new compressor for what the server (or the client) sends; None where zlib cannot make one."""
        bits = self.server_max_window_bits if server else self.client_max_window_bits
        if bits < MIN_DEFLATE_BITS:
            return None
        takeover = not (self.server_no_context_takeover if server else self.client_no_context_takeover)
        return Deflater(bits, takeover=takeover, level=self.level, memory_level=self.memory_level)

    def inflater(self, *, server: bool) -> Inflater:
        """A new inflater for what the server (or the client) sends."""
        if server:
            return Inflater(self.server_max_window_bits, takeover=not self.server_no_context_takeover)
        return Inflater(self.client_max_window_bits, takeover=not self.client_no_context_takeover)


SERVER_BITS: Final = "server_max_window_bits"
CLIENT_BITS: Final = "client_max_window_bits"
_FLAGS: Final = ("server_no_context_takeover", "client_no_context_takeover")
# RFC 7692 §7.1; §7.1.2: no leading zeros. Groups: a name without a value; a name and its value, perhaps in quotes.
_PARAMETER: Final = re.compile(
    r"((?:server|client)_no_context_takeover|client_max_window_bits)"
    r'|((?:server|client)_max_window_bits)[ \t]*=[ \t]*(?:([89]|1[0-5])|"([89]|1[0-5])")'
)


class PerMessageDeflate(Extension):
    """One negotiation (RFC 7692 §7.1) in a handshake of wsproto's. agreed: its outcome, None before that.

    wsproto's own PerMessageDeflate takes unknown and repeated parameters, and fails on a value that is not a number.
    Here an offer that cannot be accepted as it stands is declined, never bent: the next one is tried, and without any
    the connection goes on uncompressed.
    """

    name = "permessage-deflate"

    def __init__(self, wanted: DeflateParameters) -> None:
        self._wanted = wanted
        self.agreed: DeflateParameters | None = None

    def offer(self) -> str:
        """As a client, the parameters that ask for what is wanted."""
        offer = _format(self._wanted, ())
        # Without a value it tells the server that it may name one.
        return offer if CLIENT_BITS in offer else f"{offer}; {CLIENT_BITS}".removeprefix("; ")

    def accept(self, offer: str) -> str | None:
        """As a server, the parameters of the answer to the first acceptable offer; None declines this one."""
        given = _parameters(offer)
        if given is None or self.agreed is not None:
            return None
        wanted = self._wanted
        # §7.1.1 and §7.1.2.1 let a server name the first three unasked; the client's window only to a client that did.
        self.agreed = replace(
            wanted,
            **{flag: getattr(wanted, flag) or flag in given for flag in _FLAGS},
            server_max_window_bits=min(wanted.server_max_window_bits, given.get(SERVER_BITS, MAX_WINDOW_BITS)),
            client_max_window_bits=min(wanted.client_max_window_bits, given[CLIENT_BITS] or MAX_WINDOW_BITS)
            if CLIENT_BITS in given
            else MAX_WINDOW_BITS,
        )
        return _format(self.agreed, given)

    def finalize(self, answer: str) -> None:
        """As a client, take the server's answer. Raises ValueError when it is not one that the offer allows."""
        given = _parameters(answer)
        wanted = self._wanted
        if (
            given is None
            or self.agreed is not None
            or given.get(CLIENT_BITS) == 0
            or (wanted.server_no_context_takeover and _FLAGS[0] not in given)
            or given.get(SERVER_BITS, MAX_WINDOW_BITS) > wanted.server_max_window_bits
            or given.get(CLIENT_BITS, 0) > wanted.client_max_window_bits
        ):
            raise ValueError(f"the offer of {self.name} does not allow the answer {answer!r:.200}")
        self.agreed = replace(
            wanted,
            server_no_context_takeover=_FLAGS[0] in given,
            client_no_context_takeover=wanted.client_no_context_takeover or _FLAGS[1] in given,
            server_max_window_bits=given.get(SERVER_BITS, MAX_WINDOW_BITS),
            client_max_window_bits=given.get(CLIENT_BITS, wanted.client_max_window_bits),
        )


def _parameters(text: str) -> dict[str, int] | None:
    """The parameters of an offer or an answer, 0 for one without a value; None when one is invalid, or there twice."""
    found: dict[str, int] = {}
    for parameter in text.split(";")[1:]:
        match = _PARAMETER.fullmatch(parameter.strip(" \t"))
        if match is None or (name := match[1] or match[2]) in found:
            return None
        found[name] = int(match[3] or match[4] or 0)
    return found


def _format(parameters: DeflateParameters, asked: Collection[str]) -> str:
    parts = [flag for flag in _FLAGS if getattr(parameters, flag)]
    if SERVER_BITS in asked or parameters.server_max_window_bits < MAX_WINDOW_BITS:
        parts.append(f"{SERVER_BITS}={parameters.server_max_window_bits}")
    if parameters.client_max_window_bits < MAX_WINDOW_BITS:
        parts.append(f"{CLIENT_BITS}={parameters.client_max_window_bits}")
    return "; ".join(parts)


@lru_cache(maxsize=64)  # browsers and libraries make the same few offers again and again
def accept_offers(offers: tuple[str, ...], wanted: DeflateParameters) -> tuple[DeflateParameters | None, str]:
    """As a server, what is agreed of the extensions that a client offers, and the answer's field value; (None, "")."""
    deflate = PerMessageDeflate(wanted)
    answer = server_extensions_handshake(offers, [deflate])
    return deflate.agreed, (answer or b"").decode()


class Deflater:
    """Compresses the messages of one side, keeping its context between them unless that was agreed away."""

    __slots__ = ("_bits", "_context", "_keep", "_level", "_memory_level")

    def __init__(self, bits: int, *, takeover: bool, level: int, memory_level: int) -> None:
        self._bits = bits
        self._keep = takeover
        self._level = level
        self._memory_level = memory_level
        self._context: zlib._Compress | None = None

    def compress(self, payload: bytes) -> bytes:
        """The compressed payload of one message."""
        context = self._context
        if context is None:
            context = zlib.compressobj(self._level, zlib.DEFLATED, -self._bits, self._memory_level)
            if self._keep:
                self._context = context
        return (context.compress(payload) + context.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]

    def steps(self, parts: Iterable[bytes]) -> Generator[None, None, bytes]:
        """`compress` a payload in parts, without a context that is kept: yields after each."""
        context = zlib.compressobj(self._level, zlib.DEFLATED, -self._bits, self._memory_level)
        pieces = []
        for part in parts:
            pieces.append(context.compress(part))
            yield
        pieces.append(context.flush(zlib.Z_SYNC_FLUSH))
        return b"".join(pieces)[: -len(TAIL)]


class Inflater:
    """Inflates the messages of one side; the context lives on between them unless that was agreed away."""

    __slots__ = ("_bits", "_context", "_keep")

    def __init__(self, bits: int, *, takeover: bool) -> None:
        self._bits = bits
        self._keep = takeover
        self._context: zlib._Decompress | None = None

    def inflate(self, payload: bytes, message: BytesIO, limit: int) -> Iterator[int]:
        """Inflate a message's payload and append it to `message`. Yields after each step how many bytes it has moved,
        so that the caller can give way: a step takes at most INPUT_STEP bytes and gives at most OUTPUT_STEP.

        Raises MessageTooBig before `message` grows past `limit` bytes; InvalidPayload when this is not deflate data.
        """
        restarts = 0
        view = memoryview(payload)
        pieces = [view[start : start + INPUT_STEP] for start in range(0, len(view), INPUT_STEP)]
        for whole in (*pieces, TAIL):
            piece: Any = whole
            more = True
            while more:
                context = self._context
                if context is None:
                    context = self._context = zlib.decompressobj(-self._bits)
                # One byte more than there is room for tells "exactly at the limit" from "too big".
                room = min(limit - message.tell() + 1, OUTPUT_STEP)
                try:
                    output = context.decompress(piece, room)
                except zlib.error as error:
                    raise InvalidPayload("a compressed message cannot be decompressed") from error
                if message.tell() + len(output) > limit:
                    raise MessageTooBig(f"a message is larger than {limit} bytes when decompressed")
                message.write(output)
                yield len(piece) + len(output)
                if context.eof:
                    restarts += 1
                    if restarts > MAX_RESTARTS:
                        raise InvalidPayload(f"a compressed message has more than {MAX_RESTARTS} final blocks")
                    piece = context.unused_data
                    self._restart(message)
                    more = bool(piece)
                else:
                    piece = context.unconsumed_tail
                    more = bool(piece) or len(output) == room  # zlib may hold what there was no room for
        if not self._keep:
            self._context = None

    def _restart(self, message: BytesIO) -> None:
        # The window outlives a final block (§7.2.3.4). zlib keeps its own to itself; the end of this message is what
        # is known of it, and a reference to anything older fails as invalid.
        self._context = zlib.decompressobj(-self._bits, zdict=bytes(message.getbuffer()[-(1 << self._bits) :]))
