"""A bus between the processes of one machine, without any other program: the first of them is the broker.

Strategy. Every process connects to the socket. If no process listens, the lock beside it decides which one does
(broker.py), and when the broker dies the others notice by the end of their connections, and elect another in the same
way.
"""

from __future__ import annotations

import os
import socket as _socket
import stat
from pathlib import Path

from greenserve.green.socket import socket as GreenSocket
from greenserve.hub.greenthread import GreenThread, sleep, spawn
from greenserve.rooms.bus import MAX_BACKLOG, Listener, Outbox, Reconnecting
from greenserve.rooms.unix.broker import READ_SIZE, Broker, shut, write_all
from greenserve.rooms.unix.framing import Op, Parser, frame

CONNECT_SECONDS = 5.0


class UnixBus(Reconnecting):
    """See bus.Bus. path: of the socket; its directory must be one in which other users cannot put files."""

    failures = (OSError, ValueError)

    def __init__(self, path: str) -> None:
        super().__init__(f"unix:{path}")
        self._path = path
        self._broker: Broker | None = None
        self._socket: GreenSocket | None = None
        self._outbox = Outbox()
        self._will = b""
        self._writer: GreenThread[None] | None = None

    # -- Bus

    def open(self, listener: Listener, will: tuple[str, bytes]) -> None:
        """See bus.Bus."""
        self._listener = listener
        channel, payload = will
        self._will = frame(Op.WILL, channel.encode(), payload)
        self.start()

    def subscribe(self, channel: str) -> None:
        """See bus.Bus."""
        self.channels.add(channel)
        if self.connected:
            self._outbox.put(frame(Op.SUBSCRIBE, channel.encode()))

    def unsubscribe(self, channel: str) -> None:
        """See bus.Bus."""
        self.channels.discard(channel)
        if self.connected:
            self._outbox.put(frame(Op.UNSUBSCRIBE, channel.encode()))

    def publish(self, channel: str, payload: bytes) -> bool:
        """See bus.Bus."""
        return self.connected and self._outbox.put(frame(Op.MESSAGE, channel.encode(), payload))

    def close(self) -> None:
        """See bus.Bus."""
        if self.connected:
            sleep(0)  # for the writer
        self.stop()
        if self._broker is not None:
            sleep(0)  # for the broker: others may still be told
            self._broker.close()
            self._broker = None

    def abandon(self) -> None:
        """See bus.Bus."""
        if self._socket is not None:
            self._socket.close()
        if self._broker is not None:
            self._broker.abandon()

    # -- Reconnecting

    def connect(self) -> None:
        """Connect to the broker; be it, where there is none."""
        try:
            self._dial()
        except (FileNotFoundError, ConnectionRefusedError):
            if self._broker is None or self._broker.closed:
                self._broker = Broker.elect(self._path)
            if self._broker is None:  # another process has the lock, and will listen in a moment
                raise
            self._dial()
        assert self._socket is not None
        self._outbox = Outbox(MAX_BACKLOG)
        self._outbox.put(self._will)
        for channel in self.channels:
            self._outbox.put(frame(Op.SUBSCRIBE, channel.encode()))
        self._writer = spawn(write_all, self._socket, self._outbox)

    def _dial(self) -> None:
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
        self._socket = sock

    def serve(self) -> None:
        """Hear the others."""
        sock = self._socket
        assert sock is not None
        parser = Parser()
        while data := sock.recv(READ_SIZE):
            for op, name, payload in parser.feed(data):
                channel = name.decode()
                if op is Op.MESSAGE:
                    self._listener.on_message(channel, payload)
                elif channel in self.channels:
                    self._listener.on_subscribed(channel)

    def disconnect(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.kill(block=False)
            self._writer = None
        if self._socket is not None:
            shut(self._socket)
            self._socket.close()
            self._socket = None
