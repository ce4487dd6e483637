"""Feeds raw octets into an RequestParser and writes down what comes out, in a form that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from greenserve.errors import ProtocolError
from greenserve.http.body_writer import BodyWriter
from greenserve.http.head import RequestHead
from greenserve.http.limits import Limits
from greenserve.http.parser import CLOSED, NEED_DATA, EndOfMessage, RequestParser
from greenserve.http.plain_head import key_of

LIMITS = Limits()


class Head(NamedTuple):
    """A ResponseHead, by name."""

    data: bytes
    framing: type[BodyWriter]
    length: int | None
    keep_alive: bool


@dataclass(frozen=True)
class Message:
    """A whole request, however it was cut."""

    head: RequestHead
    body: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()

    def outline(self):
        head = self.head
        return (
            head.method,
            head.target,
            head.path,
            head.query,
            head.http_version,
            head.fields.items,
            head.chunked,
            head.content_length,
            head.keep_alive,
            self.body,
            self.trailers,
        )


@dataclass(frozen=True)
class Begun:
    """A request whose body never became complete."""

    head: RequestHead
    body: bytes

    def outline(self):
        return Message(self.head).outline()


@dataclass(frozen=True)
class Refused:
    status: int
    text: str

    def outline(self):
        return self.status


@dataclass(frozen=True)
class Closed:
    def outline(self):
        return "closed"


def play(pieces: Iterable[bytes], *, eof: bool = False, limits: Limits = LIMITS) -> list:
    """Return Message, Begun, Refused and Closed in the order they came."""
    player = Player(limits)
    for piece in pieces:
        player.feed(piece)
    if eof:
        player.feed(b"")
    return player.outcomes()


class Player:
    def __init__(self, limits: Limits = LIMITS):
        self.parser = RequestParser(limits)
        self.events = []
        self.over = False

    def feed(self, piece: bytes):
        self.parser.receive_data(piece)
        while not self.over:
            try:
                event = self.parser.next_event()
            except ProtocolError as error:
                self.events.append(Refused(error.status, str(error)))
                self.over = True
                return
            if event is NEED_DATA:
                return
            if event is CLOSED:
                self.over = True
                event = Closed()
            self.events.append(event)

    def outcomes(self):
        out, head, body = [], None, []
        for event in self.events:
            if isinstance(event, RequestHead):
                assert head is None
                if event.chunked or event.content_length:
                    head, body = event, []
                else:
                    out.append(Message(event))
            elif type(event) is bytes:
                assert head is not None
                assert event
                body.append(event)
            elif isinstance(event, EndOfMessage):
                out.append(Message(head, b"".join(body), event.trailers))
                head = None
            else:
                if head is not None:
                    out.append(Begun(head, b"".join(body)))
                    head = None
                out.append(event)
        if head is not None:
            out.append(Begun(head, b"".join(body)))
        return out


def outlines(outcomes: Sequence) -> list:
    return [outcome.outline() for outcome in outcomes]


def octets(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


def one_head(raw: bytes, limits: Limits = LIMITS) -> RequestHead:
    """The head of the one request that `raw` is."""
    message = play([raw], limits=limits)[0]
    assert isinstance(message, Message), message
    return message.head


def cgi_of(*lines: tuple[str, str]) -> dict[str, str]:
    """These fields in the keys of an environ, repeated ones joined."""
    cgi: dict[str, str] = {}
    for name, value in lines:
        key = key_of(name)
        cgi[key] = f"{cgi[key]}, {value}" if key in cgi else value
    return cgi


def refusal(raw: bytes, limits: Limits = LIMITS) -> Refused:
    """How the first thing in `raw` is refused."""
    outcomes = play([raw], limits=limits)
    assert isinstance(outcomes[-1], Refused), outcomes
    return outcomes[-1]
