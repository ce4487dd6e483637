"""A bus between the processes of one machine, without any other program: the first of them starts the broker.

Strategy. Every process connects to the socket. Where no broker listens, one is started (start.py), a small process
without an application: so nothing that blocks one process delays messages between others. When the broker dies, its
clients notice by the end of their connections, and the quickest of them starts another one.
"""

from __future__ import annotations

import os
import socket as _socket
import stat
from pathlib import Path

from greenserve.green.socket import socket as GreenSocket
from greenserve.hub.greenthread import GreenThread, sleep
from greenserve.hub.spawning import spawn
from greenserve.rooms.bus import FIRST_PAUSE, MAX_BACKLOG, Outbox, ReconnectingBus, Subscriber, logger, shut
from greenserve.rooms.protocol.framing import LOG, Op, Parser, frame
from greenserve.rooms.unix.start import start

READ_SIZE = 65536  # bytes
CONNECT_SECONDS = 5.0
START_SECONDS = 1.0  # for which a process that starts a broker is given the time to


class UnixBus(ReconnectingBus):
    """See Bus. path: of the socket; its directory must be one in which other users cannot put files."""

    failures = (OSError, ValueError)

    def __init__(self, path: str) -> None:
        super().__init__(f"unix:{path}")
        self._path = path
        self._socket: GreenSocket | None = None
        self._outbox = Outbox(MAX_BACKLOG)
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
        """See Bus. Until the first attempt to connect has succeeded or failed, messages wait."""
        is_open = self._thread is not None and not self._lost
        return is_open and self._outbox.put(frame(Op.MESSAGE, channel.encode(), payload))

    def abandon(self) -> None:
        """See Bus."""
        if self._socket is not None:
            self._socket.close()

    def connect(self) -> None:
        """Connect to the broker; start it, where there is none."""
        deadline = self._clock() + START_SECONDS
        while self._socket is None:
            try:
                self._socket = self._dial()
            except (FileNotFoundError, ConnectionRefusedError):
                if not start(self._path):  # another process does
                    if self._clock() > deadline:
                        raise
                    sleep(FIRST_PAUSE)
        self._outbox.put(self._will)
        self._outbox.put(frame(Op.SUBSCRIBE, LOG))
        for channel in self.channels:
            self.request(channel, subscribe=True)
        self._writer = spawn(self._outbox.send_all, self._socket)

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
                if name == LOG:
                    if op is Op.MESSAGE:
                        logger.warning("rooms: %s", payload.decode(errors="replace"))
                elif op is Op.MESSAGE:
                    subscriber.on_message(name.decode(), payload)
                elif (channel := name.decode()) in self.channels:
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
        self._outbox = Outbox(MAX_BACKLOG)  # what waited for that connection is not sent by the next one
