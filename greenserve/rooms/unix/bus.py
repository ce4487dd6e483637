"""A bus between the processes of one machine, without any other program: the first of them is the broker.

Strategy. Every process connects to the socket. If none listens, the lock beside it decides which one does (broker.py);
when the broker dies, the other processes notice by the end of their connections, and elect another in the same way.
"""

from __future__ import annotations

import os
import socket as _socket
import stat
from pathlib import Path

from greenserve.green.socket import socket as GreenSocket
from greenserve.hub.greenthread import GreenThread, sleep
from greenserve.hub.spawning import spawn
from greenserve.rooms.bus import MAX_BACKLOG, Outbox, ReconnectingBus, Subscriber, shut
from greenserve.rooms.protocol.framing import Op, Parser, frame
from greenserve.rooms.unix.broker import READ_SIZE, Broker

CONNECT_SECONDS = 5.0


class UnixBus(ReconnectingBus):
    """See Bus. path: of the socket; its directory must be one in which other users cannot put files."""

    failures = (OSError, ValueError)

    def __init__(self, path: str) -> None:
        super().__init__(f"unix:{path}")
        self._path = path
        self._broker: Broker | None = None
        self._socket: GreenSocket | None = None
        self._outbox = Outbox()
        self._will = b""
        self._writer: GreenThread[None] | None = None

    def open(self, subscriber: Subscriber, will: tuple[str, bytes]) -> None:
        """See Bus."""
        channel, payload = will
        self._will = frame(Op.WILL, channel.encode(), payload)
        super().open(subscriber, will)

    def request(self, channel: str, *, subscribe: bool) -> None:
        """See ReconnectingBus."""
        self._outbox.put(frame(Op.SUBSCRIBE if subscribe else Op.UNSUBSCRIBE, channel.encode()))

    def publish(self, channel: str, payload: bytes) -> bool:
        """See Bus."""
        return self.connected and self._outbox.put(frame(Op.MESSAGE, channel.encode(), payload))

    def close(self) -> None:
        """See Bus."""
        super().close()
        if self._broker is not None:
            sleep(0)  # for the broker: it may still have messages for other processes
            self._broker.close()
            self._broker = None

    def abandon(self) -> None:
        """See Bus."""
        if self._socket is not None:
            self._socket.close()
        if self._broker is not None:
            self._broker.abandon()

    def connect(self) -> None:
        """Connect to the broker; become it, where there is none."""
        try:
            sock = self._dial()
        except (FileNotFoundError, ConnectionRefusedError):
            if self._broker is None or self._broker.closed:
                self._broker = Broker.elect(self._path)
            if self._broker is None:  # another process has the lock, and will listen in a moment
                raise
            sock = self._dial()
        self._socket = sock
        self._outbox = Outbox(MAX_BACKLOG)
        self._outbox.put(self._will)
        for channel in self.channels:
            self.request(channel, subscribe=True)
        self._writer = spawn(self._outbox.send_all, sock)

    def _dial(self) -> GreenSocket:
        there = Path(self._path).stat()
        if not stat.S_ISSOCK(there.st_mode):
            raise FileExistsError(f"{self._path} is not a socket, and is left as it is: name another path")
        if there.st_uid not in (os.geteuid(), 0):
            raise PermissionError(f"{self._path} is another user's: name a path in a directory of your own")
        sock = GreenSocket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.settimeout(CONNECT_SECONDS)
            sock.connect(self._path)
            sock.settimeout(None)
        except BaseException:
            sock.close()
            raise
        return sock

    def serve(self) -> None:
        """Receive from the broker."""
        sock, subscriber, parser = self._socket, self.subscriber, Parser()
        assert sock is not None
        assert subscriber is not None
        while data := sock.recv(READ_SIZE):
            for op, name, payload in parser.feed(data):
                channel = name.decode()
                if op is Op.MESSAGE:
                    subscriber.on_message(channel, payload)
                elif channel in self.channels:
                    subscriber.on_subscribed(channel)

    def disconnect(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.kill(block=False)
            self._writer = None
        if self._socket is not None:
            shut(self._socket)
            self._socket.close()
            self._socket = None
