"""The broker of a Unix socket: in one of the processes that share rooms, it passes on the messages of each.

Invariants. The process that holds the lock beside the socket is the broker: the system releases it when that process
dies, however that happens, so a socket file left behind by a dead process misleads no other. The files may be removed
while the broker lives: it makes them again, or, where another process was quicker, steps down, so that all meet there.
A process that does not read what it is sent is cut off, so that it delays no other; it connects again by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket as _socket
from pathlib import Path
from typing import Self

from greenserve.green.socket import socket as GreenSocket
from greenserve.hub.greenthread import GreenThread, sleep
from greenserve.hub.spawning import spawn
from greenserve.net import unix_socket
from greenserve.rooms.bus import MAX_BACKLOG, Outbox, shut
from greenserve.rooms.protocol.framing import Op, Parser, frame
from greenserve.settings import Access

logger = logging.getLogger("greenserve.rooms")

READ_SIZE = 65536  # bytes
LISTEN_BACKLOG = 128
ACCEPT_PAUSE = 0.1  # seconds, when the system has no more descriptors
CHECK_SECONDS = 1.0  # between two checks of the files: so long newcomers may be on their own


class Client:
    """A process that has connected, in the broker."""

    def __init__(self, sock: GreenSocket) -> None:
        self.socket = sock
        self.outbox = Outbox(MAX_BACKLOG)
        self.channels: set[bytes] = set()
        self.will: tuple[bytes, bytes] | None = None
        self.writer = spawn(self.outbox.send_all, sock)


class Broker:
    """Listens, and passes messages on. Everything in the hub in which it was made."""

    def __init__(self, path: str, lock: int) -> None:
        self._path = path
        self._lock = lock
        self._clients: set[Client] = set()
        self._subscribers: dict[bytes, set[Client]] = {}
        self.closed = False
        self._listen()
        self._accepting = spawn(self._accept)
        self._checking = spawn(self._check_files)
        self._threads: set[GreenThread[None]] = set()  # one for each client

    @classmethod
    def elect(cls, path: str) -> Self | None:
        """Become the broker, unless another process is. Raises OSError."""
        lock = _lock(path)
        if lock is None:
            return None
        try:
            return cls(path, lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """End, and let another process take over. Harmless when it has ended."""
        if self.closed:
            return
        with contextlib.suppress(OSError):
            unix_socket.remove(self._path, self._made)
        for thread in (self._accepting, *self._threads):
            thread.kill(block=False)
        self.abandon()
        self._checking.kill(block=False)  # last: it may be the thread that closes

    def abandon(self) -> None:
        """Close all descriptors. In a forked child the parent keeps its own, and with them the lock."""
        if self.closed:
            return
        self.closed = True
        for client in self._clients:
            client.writer.kill(block=False)
            client.socket.close()
        self._clients.clear()
        self._socket.close()
        os.close(self._lock)

    def _listen(self) -> None:
        self._socket = GreenSocket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            # A process that may connect may send to every member.
            self._made = unix_socket.bind(self._socket, self._path, Access(0o600))
            self._socket.listen(LISTEN_BACKLOG)
        except BaseException:
            self._socket.close()
            raise

    def _check_files(self) -> None:
        warned = False
        while True:
            sleep(CHECK_SECONDS)
            if self.closed:
                return
            try:
                if not self._still_locked():
                    logger.warning("rooms: another process is the broker at %s by now", self._path)
                    self.close()
                elif not unix_socket.is_there(self._path, self._made):
                    self._listen_again()
                warned = False
            except OSError as error:
                if not warned:
                    logger.warning("rooms: no further process can join those at %s: %s", self._path, error)
                warned = True

    def _still_locked(self) -> bool:
        """Whether this process holds the lock of the file that is there; takes it anew where that was removed.

        Raises OSError.
        """
        with contextlib.suppress(FileNotFoundError):
            there, held = _lock_path(self._path).stat(), os.fstat(self._lock)
            if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                return True
        lock = _lock(self._path)
        if lock is None:
            return False
        os.close(self._lock)
        self._lock = lock
        return True

    def _listen_again(self) -> None:
        """The socket's file was removed, or is another one. Existing connections stay. Raises OSError."""
        old = self._socket
        try:
            self._listen()
        except BaseException:
            self._socket = old
            raise
        self._accepting.kill(block=False)
        old.close()
        self._accepting = spawn(self._accept)
        logger.warning("rooms: %s was removed, and is there again", self._path)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError as error:
                logger.warning("rooms: the broker at %s could not accept: %s", self._path, error)
                sleep(ACCEPT_PAUSE)
                continue
            client = Client(sock)  # here: a thread that is killed before it begins closes nothing
            self._clients.add(client)
            thread = spawn(self._serve, client)
            self._threads.add(thread)
            thread.link(self._threads.discard)

    def _serve(self, client: Client) -> None:
        parser = Parser()
        try:
            while data := client.socket.recv(READ_SIZE):
                for op, channel, payload in parser.feed(data):
                    self._handle(client, op, channel, payload)
        except OSError:
            pass  # it is gone
        except ValueError as error:
            logger.warning("rooms: the broker at %s closed a connection: %s", self._path, error)
        finally:
            self._forget(client)

    def _handle(self, client: Client, op: Op, channel: bytes, payload: bytes) -> None:
        if op is Op.MESSAGE:
            self._pass_on(client, channel, frame(op, channel, payload))
        elif op is Op.SUBSCRIBE:
            client.channels.add(channel)
            self._subscribers.setdefault(channel, set()).add(client)
            client.outbox.put(frame(op, channel))  # from now on it receives everything
        elif op is Op.WILL:
            client.will = channel, payload
        else:
            client.channels.discard(channel)
            self._unsubscribe(client, channel)

    def _pass_on(self, sender: Client, channel: bytes, data: bytes) -> None:
        for client in self._subscribers.get(channel, ()):
            if client is not sender and not client.outbox.put(data):
                logger.warning("rooms: a process that shares %s does not read what it is sent: cut off", self._path)
                shut(client.socket)  # its reader notices, and closes

    def _unsubscribe(self, client: Client, channel: bytes) -> None:
        subscribers = self._subscribers.get(channel)
        if subscribers is not None:
            subscribers.discard(client)
            if not subscribers:
                del self._subscribers[channel]

    def _forget(self, client: Client) -> None:
        for channel in client.channels:
            self._unsubscribe(client, channel)
        self._clients.discard(client)
        client.writer.kill(block=False)
        client.socket.close()
        if client.will is not None:
            channel, payload = client.will
            self._pass_on(client, channel, frame(Op.MESSAGE, channel, payload))


def _lock_path(path: str) -> Path:
    return Path(f"{path}.lock")


def _lock(path: str) -> int | None:
    """A descriptor that holds the lock beside `path`; None when another process does. Raises OSError."""
    lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return lock
