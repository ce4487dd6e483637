"""What the tests of this package share: frames made by hand, and a protocol run over a stream of bytes to its end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import tests.wire
from greenserve.websocket.protocol import Protocol
from greenserve.websocket.protocol.errors import ProtocolViolation
from greenserve.websocket.protocol.events import Event
from tests.wire import TEXT

KEY = b"\x37\xfa\x21\x3d"  # the key of the examples in RFC 6455 §5.7
frame = partial(tests.wire.frame, key=KEY)


def text(payload: str, **options: object) -> bytes:
    return frame(TEXT, payload.encode(), **options)  # type: ignore[arg-type]


@dataclass
class Run:
    """What came out: the events in order, the code of the failure (None: no failure), and what is to be sent."""

    events: list[Event]
    failure: int | None
    sent: bytes


def run(protocol: Protocol, *pieces: bytes) -> Run:
    events: list[Event] = []
    failure = None
    for piece in pieces:
        try:
            protocol.receive_data(piece)
            while (event := protocol.next_event()) is not None:
                events.append(event)
        except ProtocolViolation as violation:
            assert failure is None
            failure = violation.code
    return Run(events, failure, protocol.data_to_send())


def each_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def close_code(sent: bytes) -> int | None:
    """The code of the unmasked Close frame that `sent` ends with."""
    position = sent.rfind(b"\x88")
    if position < 0:
        return None
    payload = sent[position + 2 :]
    assert len(payload) == sent[position + 1]
    return int.from_bytes(payload[:2]) if payload else 1005
