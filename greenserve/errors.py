"""The tree of exceptions: every error says whose fault it was and, where a peer waits for it, what to answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class GreenserveError(Exception):
    """The root of what greenserve itself raises (apart from `Timeout`, which must pass through `except Exception`)."""


class ConfigurationError(GreenserveError):
    """An option, a file or an application reference is wrong; the text says what to write instead."""


class ProtocolError(GreenserveError):
    """The peer broke the protocol.

    status: of the answer (RFC 9110 §15). headers: what that status needs besides what every response has. request: the
    RequestHead, where it is the head that is refused, and yet is right.
    """

    status = 400
    headers: Sequence[tuple[str, str]] = ()
    request: Any = None


class BadRequest(ProtocolError):
    """400: the message is malformed or its framing is ambiguous."""


class ContentTooLarge(ProtocolError):
    """413: the body is larger than the server accepts."""

    status = 413


class UriTooLong(ProtocolError):
    """414: the request target is longer than the server accepts."""

    status = 414


class ExpectationFailed(ProtocolError):
    """417: an expectation other than 100-continue."""

    status = 417


class HeaderFieldsTooLarge(ProtocolError):
    """431: the head is too large or has too many fields (RFC 6585 §5)."""

    status = 431


class NotImplementedByServer(ProtocolError):
    """501: a transfer coding that the server does not know (RFC 9112 §6.1)."""

    status = 501


class VersionNotSupported(ProtocolError):
    """505: a major version other than HTTP/1."""

    status = 505


class RequestTimeout(ProtocolError):
    """408: the peer took longer than the header or the body deadline."""

    status = 408


class ClientDisconnected(GreenserveError, ConnectionError):
    """The peer went away before the message was complete. A ConnectionError, so applications handle it as one."""


class InvalidResponse(GreenserveError, ValueError):
    """The application's status or headers break PEP 3333 or RFC 9110; the text names which."""


class HubError(GreenserveError, RuntimeError):
    """The hub was used in a way that can never work."""


class BlockingInHub(HubError):
    """A blocking call was made inside the hub's own greenlet (a callback), where nothing could ever resume it."""


class Deadlock(HubError):
    """Nothing can ever run again: no ready thread, timer or descriptor. Lists each thread and where it waits."""


class AlreadyWaiting(HubError):
    """A second green thread wants to wait for the same direction of the same descriptor."""


class LoadError(ConfigurationError):
    """The application could not be loaded; the text says which import, attribute or call failed, and what to change.

    `details` is the traceback through the application's own code, or empty where the text says everything.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class BindError(GreenserveError, OSError):
    """An address could not be listened on; the text names it, the cause, and the holder if that is known."""


class IncompleteMessage(BadRequest, ClientDisconnected):
    """The peer closed its sending side in the middle of a message.

    Both: 400 for a peer that still reads the answer, and a ConnectionError for an application that reads the body.
    """


class AlreadySent(HubError, AssertionError):
    """An Event was sent twice. An AssertionError too, which is what Eventlet raises."""
