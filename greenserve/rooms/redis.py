"""A bus over Redis pub/sub, across machines. redis-py speaks the protocol, on sockets that are green in any process.

Strategy. Two connections, for Redis lets one that has subscribed say nothing else: on the one `serve` hears, on the
other a green thread publishes, all that waits at a time, and reads the replies. They live and die together. Commands
are written to the sockets directly, since redis-py's own way of sending connects again by itself, and that would be a
connection that has subscribed to nothing.

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
from greenserve.green import socket as green_socket
from greenserve.green import ssl as green_ssl
from greenserve.green._twin import rebind
from greenserve.hub.greenthread import GreenThread, sleep, spawn
from greenserve.rooms.bus import MAX_BACKLOG, Listener, Outbox, Reconnecting, logger
from greenserve.rooms.unix.broker import shut

CONNECT_SECONDS = 5.0
PING_SECONDS = 10.0  # between two questions whether Redis is still there: a dead machine closes no connection
SILENCE_SECONDS = 25.0  # without an answer, before it is given up
DEFAULT_PREFIX = "greenserve"


def _dial(host: str, port: int) -> Any:
    """A green socket, connected. Not create_connection, which leaves its socket open when the thread is killed."""
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, proto, _, address in green_socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM):
        sock = green_socket.socket(family, kind, proto)
        try:
            sock.settimeout(CONNECT_SECONDS)
            sock.connect(address)
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            sock.settimeout(SILENCE_SECONDS)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


class _GreenConnection(redis.connection.Connection):
    """redis-py's connection on a green socket."""

    def _connect(self) -> Any:
        self.wire = _dial(self.host, self.port)
        return self.wire


class _GreenTlsConnection(redis.connection.SSLConnection):
    """redis-py's connection with TLS on a green socket."""

    # Made of redis-py's own, which knows what all its options mean, with another `ssl`.
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


class RedisBus(Reconnecting):
    """See bus.Bus. url: redis://[[USER]:PASSWORD@]HOST[:PORT][/DB][?prefix=NAME], rediss:// for TLS.

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
            "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0),  # we try again ourselves, without time.sleep
            "decode_responses": False,
            "health_check_interval": 0,
        }
        self._prefix = f"{prefix}:{options.get('db', 0)}:".encode()
        self._hearing: Any = None
        self._speaking: Any = None
        self._commands = Outbox()  # for the connection that hears
        self._outbox = Outbox()  # for the one that speaks
        self._helpers: list[GreenThread[None]] = []
        self._new()  # so that a parameter which redis-py does not know is refused now

    def _new(self) -> Any:
        try:
            return self._class(**self._options)
        except TypeError as error:
            raise ConfigurationError(f"rooms = {self.name}: redis-py refuses a parameter of the URL: {error}") from None

    # -- Bus

    def open(self, listener: Listener, will: tuple[str, bytes]) -> None:
        """See bus.Bus. Redis knows no wills: a process that dies is missed when it has been silent for long."""
        self._listener = listener
        self.start()

    def subscribe(self, channel: str) -> None:
        """See bus.Bus."""
        self.channels.add(channel)
        self._command("SUBSCRIBE", channel)

    def unsubscribe(self, channel: str) -> None:
        """See bus.Bus."""
        self.channels.discard(channel)
        self._command("UNSUBSCRIBE", channel)

    def _command(self, name: str, channel: str) -> None:
        if self.connected:
            self._commands.put(_packed(self._hearing, name, self._prefix + channel.encode()))

    def publish(self, channel: str, payload: bytes) -> bool:
        """See bus.Bus."""
        if not self.connected:
            return False
        return self._outbox.put(_packed(self._speaking, "PUBLISH", self._prefix + channel.encode(), payload))

    def close(self) -> None:
        """See bus.Bus."""
        if self.connected:
            sleep(0)  # for the green thread that speaks
        self.stop()

    def abandon(self) -> None:
        """See bus.Bus."""
        for connection in (self._hearing, self._speaking):
            if connection is not None and connection.wire is not None:
                connection.wire.close()

    # -- Reconnecting

    def connect(self) -> None:
        """Make both connections, and subscribe."""
        self._hearing, self._speaking = self._new(), self._new()
        for connection in (self._hearing, self._speaking):
            connection.wire = None
            connection.connect()
        self._commands, self._outbox = Outbox(), Outbox(MAX_BACKLOG)
        for channel in self.channels:
            self._commands.put(_packed(self._hearing, "SUBSCRIBE", self._prefix + channel.encode()))
        self._helpers = [
            spawn(self._ask, self._hearing, self._commands),
            spawn(self._speak, self._speaking, self._hearing, self._outbox),
        ]

    def serve(self) -> None:
        """Hear."""
        hearing, skip = self._hearing, len(self._prefix)
        while True:
            kind, channel, *rest = hearing.read_response()
            if kind == b"message":
                self._listener.on_message(channel[skip:].decode(), rest[0])
            elif kind == b"subscribe":
                name = channel[skip:].decode()
                if name in self.channels:
                    self._listener.on_subscribed(name)

    def disconnect(self) -> None:
        """Close both connections."""
        for helper in self._helpers:
            helper.kill(block=False)
        self._helpers = []
        for connection in (self._hearing, self._speaking):
            if connection is not None:
                connection.disconnect()
        self._hearing = self._speaking = None

    # -- green threads of their own

    def _ask(self, hearing: Any, commands: Outbox) -> None:
        """Subscribe and unsubscribe; and a question now and then, whose answer shows that the connection lives."""
        ping = _packed(hearing, "PING")
        try:
            while True:
                hearing.wire.sendall(b"".join(commands.take(PING_SECONDS)) or ping)
        except Exception:
            shut(hearing.wire)  # `serve` learns of it that way

    def _speak(self, speaking: Any, hearing: Any, outbox: Outbox) -> None:
        """Publish what waits, all at a time."""
        try:
            while True:
                commands = outbox.take()
                speaking.wire.sendall(b"".join(commands))
                for _ in commands:
                    speaking.read_response()  # by how many it was heard, which does not tell whether they are ours
        except Exception as error:
            if self._speaking is not speaking:
                return  # `disconnect` has ended it; redis-py stumbles over what that has closed, each time elsewhere
            if not isinstance(error, self.failures):
                logger.exception("rooms: publishing over %s failed", self.name)
            self.failure = error
            shut(hearing.wire)


def _packed(connection: Any, *words: str | bytes) -> bytes:
    return b"".join(connection.pack_command(*words))
