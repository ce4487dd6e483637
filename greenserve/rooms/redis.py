"""A bus over Redis pub/sub, across machines. redis-py speaks the protocol, on sockets that are green in any process.

Strategy. Two connections, for Redis accepts nothing else from one that has subscribed: on the one `serve` receives, on
the other a green thread publishes, all that waits at a time, and reads the replies. They live and die together.
Commands are written to the sockets directly: redis-py's own way of sending connects again by itself, and that would be
a connection that has subscribed to nothing.

Not redis-py's own PubSub: its subscriptions and its reading must be one thread's, which then polls for new ones.
"""

from __future__ import annotations

import socket as _socket
from types import FunctionType
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit, urlunsplit

import redis
import redis.backoff
import redis.connection
import redis.retry

from greenserve.errors import ConfigurationError
from greenserve.green import ssl as green_ssl
from greenserve.hub.greenthread import GreenThread
from greenserve.hub.spawning import spawn
from greenserve.net.sockets import connect
from greenserve.patching.rebind import rebind
from greenserve.rooms.bus import MAX_BACKLOG, Outbox, ReconnectingBus, logger, shut

CONNECT_SECONDS = 5.0
PING_SECONDS = 10.0  # between two pings: a machine that dies closes no connection
SILENCE_SECONDS = 25.0  # without an answer, before the connection is given up
DEFAULT_PREFIX = "greenserve"


def _dial(host: str, port: int) -> Any:
    sock = connect((host, port), timeout=CONNECT_SECONDS)
    sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    sock.settimeout(SILENCE_SECONDS)
    return sock


class _GreenConnection(redis.connection.Connection):
    """redis-py's connection on a green socket."""

    def _connect(self) -> Any:
        self.wire = _dial(self.host, self.port)
        return self.wire


class _GreenTlsConnection(redis.connection.SSLConnection):
    """redis-py's connection with TLS on a green socket."""

    # Made of redis-py's own, which handles all its options, with another `ssl`.
    _wrap_socket_with_ssl = rebind(
        cast("FunctionType", redis.connection.SSLConnection._wrap_socket_with_ssl),
        {**vars(redis.connection), "ssl": green_ssl},
    )

    def _connect(self) -> Any:
        sock = _dial(self.host, self.port)
        try:
            self.wire = self._wrap_socket_with_ssl(sock)
        except BaseException:
            sock.close()
            raise
        return self.wire


class RedisBus(ReconnectingBus):
    """See Bus. url: redis://[[USER]:PASSWORD@]HOST[:PORT][/DB][?prefix=NAME], rediss:// for TLS.

    Channels are PREFIX:DB:ROOM. The database is part of the name because Redis itself does not keep the channels of its
    databases apart. Further parameters of the URL are redis-py's. Raises ConfigurationError for a URL that it refuses.
    """

    failures = (OSError, redis.RedisError)

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        super().__init__(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))
        try:
            options: dict[str, Any] = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]  # redis-py's
        except ValueError as error:
            raise ConfigurationError(f"rooms = {self.name}: {error}") from None
        prefix = parse_qs(parts.query).get("prefix", [DEFAULT_PREFIX])[-1]
        options.pop("prefix", None)
        self._class: Any = _GreenTlsConnection if options.pop("connection_class", None) else _GreenConnection
        self._options = options | {
            "protocol": 2,  # with RESP3 what is published comes among other things, in another shape
            "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0),  # ReconnectingBus tries again, without time.sleep
            "decode_responses": False,
            "health_check_interval": 0,
        }
        self._prefix = f"{prefix}:{options.get('db', 0)}:".encode()
        self._receiver: Any = None
        self._publisher: Any = None
        self._commands = Outbox()  # for the receiver
        self._outbox = Outbox()  # for the publisher
        self._helpers: list[GreenThread[None]] = []
        self._new()  # so that a parameter which redis-py does not know is refused now

    def _new(self) -> Any:
        try:
            return self._class(**self._options)
        except TypeError as error:
            raise ConfigurationError(f"rooms = {self.name}: redis-py refuses a parameter of the URL: {error}") from None

    def request(self, channel: str, *, subscribe: bool) -> None:
        """See ReconnectingBus."""
        self._commands.put(self._packed("SUBSCRIBE" if subscribe else "UNSUBSCRIBE", self._prefix + channel.encode()))

    def publish(self, channel: str, payload: bytes) -> bool:
        """See Bus."""
        return self.connected and self._outbox.put(self._packed("PUBLISH", self._prefix + channel.encode(), payload))

    def _packed(self, *words: str | bytes) -> bytes:
        return b"".join(self._publisher.pack_command(*words))

    def abandon(self) -> None:
        """See Bus."""
        for connection in (self._receiver, self._publisher):
            if connection is not None and connection.wire is not None:
                connection.wire.close()

    def connect(self) -> None:
        """Make both connections, and subscribe."""
        self._receiver, self._publisher = receiver, publisher = self._new(), self._new()
        for connection in (receiver, publisher):
            connection.wire = None
            connection.connect()
        self._commands, self._outbox = Outbox(), Outbox(MAX_BACKLOG)
        for channel in self.channels:
            self.request(channel, subscribe=True)
        self._helpers = [
            spawn(self._commands.send_all, receiver.wire, self._packed("PING"), PING_SECONDS),
            spawn(self._publish_all, publisher, receiver, self._outbox),
        ]

    def serve(self) -> None:
        """Receive from Redis."""
        receiver, subscriber, skip = self._receiver, self.subscriber, len(self._prefix)
        assert subscriber is not None
        while True:
            kind, channel, *rest = receiver.read_response()
            if kind == b"message":
                subscriber.on_message(channel[skip:].decode(), rest[0])
            elif kind == b"subscribe":
                name = channel[skip:].decode()
                if name in self.channels:
                    subscriber.on_subscribed(name)

    def disconnect(self) -> None:
        """Close both connections."""
        for helper in self._helpers:
            helper.kill(block=False)
        self._helpers = []
        for connection in (self._receiver, self._publisher):
            if connection is not None:
                connection.disconnect()
        self._receiver = self._publisher = None

    def _publish_all(self, publisher: Any, receiver: Any, outbox: Outbox) -> None:
        """Publish what waits, all at a time. For a green thread of its own."""
        try:
            while True:
                commands = outbox.take()
                publisher.wire.sendall(b"".join(commands))
                for _ in commands:
                    publisher.read_response()  # how many received it, subscribers of other applications included
        except Exception as error:
            if self._publisher is not publisher:
                return  # `disconnect` has ended it; where redis-py stumbles over what that closed is chance
            if not isinstance(error, self.failures):
                logger.exception("rooms: publishing over %s failed", self.name)
            self.failure = error
            shut(receiver.wire)
