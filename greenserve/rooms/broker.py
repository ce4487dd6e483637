"""The broker of a Unix socket: in one of the processes that share rooms, it passes on what each says to the others.

Laws. Who holds the lock beside the socket is the broker: the system gives it back when its process dies, however that
happens, so no socket file left behind by a dead one can mislead anybody. A process that does not read what it is sent
is cut off, so that it delays nobody; it connects again by itself.
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
from greenserve.hub.greenthread import GreenThread, sleep, spawn
from greenserve.rooms.bus import MAX_BACKLOG, Outbox
from greenserve.rooms.wire import Op, Parser, frame

logger = logging.getLogger("greenserve.rooms")

READ_SIZE = 65536  # bytes
LISTEN_BACKLOG = 128
ACCEPT_PAUSE = 0.1  # seconds, when the system has no more descriptors


class Client:
    """A process that has connected, in the broker."""

    def __init__(self, sock: GreenSocket) -> None:
        self.socket = sock
        self.outbox = Outbox(MAX_BACKLOG)
        self.channels: set[bytes] = set()
        self.will: tuple[bytes, bytes] | None = None
        self.writer = spawn(write_all, sock, self.outbox)

    def cut_off(self) -> None:
        """End the connection; its reader notices, and closes."""
        shut(self.socket)


class Broker:
    """Listens, and passes messages on. Everything in the hub in which it was made."""

    def __init__(self, path: str, lock: int) -> None:
        self._path = path
        self._lock = lock
        self._clients: set[Client] = set()
        self._subscribers: dict[bytes, set[Client]] = {}
        self._socket = _listen(path)
        self._threads: set[GreenThread[None]] = {spawn(self._accept)}

    @classmethod
    def elect(cls, path: str) -> Self | None:
        """Become the broker, unless another process is. Raises OSError."""
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(path, lock)
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """End, and let another process take over."""
        with contextlib.suppress(OSError):
            Path(self._path).unlink()
        for thread in list(self._threads):
            thread.kill(block=False)
        self.abandon()

    def abandon(self) -> None:
        """Close all descriptors. In a forked child the parent keeps its own, and with them the lock."""
        for client in self._clients:
            client.writer.kill(block=False)
            client.socket.close()
        self._clients.clear()
        self._socket.close()
        os.close(self._lock)

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
                    self._obey(client, op, channel, payload)
        except OSError:  # it is gone
            pass
        except ValueError as error:
            logger.warning("rooms: the broker at %s closed a connection: %s", self._path, error)
        finally:
            self._forget(client)

    def _obey(self, client: Client, op: Op, channel: bytes, payload: bytes) -> None:
        if op is Op.MESSAGE:
            self._pass_on(client, channel, frame(op, channel, payload))
        elif op is Op.SUBSCRIBE:
            client.channels.add(channel)
            self._subscribers.setdefault(channel, set()).add(client)
            client.outbox.put(frame(op, channel))  # so that it knows: from now on it hears everything
        elif op is Op.WILL:
            client.will = channel, payload
        else:
            client.channels.discard(channel)
            self._unsubscribe(client, channel)

    def _pass_on(self, sender: Client, channel: bytes, data: bytes) -> None:
        for client in self._subscribers.get(channel, ()):
            if client is not sender and not client.outbox.put(data):
                logger.warning("rooms: a process that shares %s does not read what it is sent: cut off", self._path)
                client.cut_off()

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


def write_all(sock: GreenSocket, outbox: Outbox) -> None:
    """Send what is put into `outbox`, until the connection ends. For a green thread of its own."""
    try:
        while True:
            sock.sendall(b"".join(outbox.take()))
    except Exception:  # whatever it was: a connection that is not written to any more is none
        shut(sock)  # whoever reads from it learns that way


def shut(sock: GreenSocket) -> None:
    """Shut both sides; harmless when it is shut or closed."""
    with contextlib.suppress(OSError):
        sock.shutdown(_socket.SHUT_RDWR)


def _listen(path: str) -> GreenSocket:
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()  # a dead broker's: we have the lock
    sock = GreenSocket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.bind(path)
        Path(path).chmod(0o600)  # before anybody can connect: who may connect may speak to every member
        sock.listen(LISTEN_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
