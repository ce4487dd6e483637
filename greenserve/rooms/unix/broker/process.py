"""The broker's event loop: connections, the files that lead to it, and its end.

Invariants. The files may be removed while the broker lives: it makes them again, or, where another process was quicker,
ends, so that all meet there. It ends when it has had no client for a while, and not before: a signal that ends a server
and all that belongs to it (SIGTERM, SIGINT) finds clients that have something to say still.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
import traceback
from _socket import socket
from contextlib import suppress
from itertools import islice

from greenserve.rooms.protocol.relay import Client, Relay
from greenserve.rooms.unix.broker.place import Place

READ_SIZE = 65536  # bytes
PIECES = 64  # that are sent in one call
READ, READ_AND_WRITE = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE


class Broker:
    """check: seconds between two looks at the files. linger: seconds without a client until the end."""

    def __init__(self, place: Place, listener: socket, check: float, linger: float) -> None:
        self.linger = linger
        self._place = place
        self._check = check
        self._check_at = time.monotonic() + check
        self._warned = False  # that the files cannot be made again
        self._relay = Relay()
        self._clients: dict[Client, socket] = {}
        self._lonely_since = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._listen(listener)

    def run(self) -> None:
        """Until no client needs it, or another broker is at its place."""
        try:
            while self._is_needed() and self._look_at_files():
                for key, events in self._selector.select(self._patience()):
                    self._handle(key.data, events)
                self._flush()
        except Exception:  # a defect; its clients start another broker
            self._relay.say(f"the broker at {self._place.path} has failed:\n{traceback.format_exc()}")
            self._flush()
            raise
        finally:
            self._place.remove_socket()

    def _listen(self, listener: socket) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, READ)

    def _patience(self) -> float:
        until = self._check_at
        if not self._clients:
            until = min(until, self._lonely_since + self.linger)
        return max(0.0, until - time.monotonic())

    def _is_needed(self) -> bool:
        if not self._clients and time.monotonic() >= self._lonely_since + self.linger:
            self._accept()
        return bool(self._clients) or time.monotonic() < self._lonely_since + self.linger

    # -- clients

    def _handle(self, client: Client | None, events: int) -> None:
        if client is None:
            self._accept()
        elif events & selectors.EVENT_READ and client in self._clients:
            self._read(client)
        elif events & selectors.EVENT_WRITE and client in self._clients:
            self._write(client)

    def _accept(self) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # socket.socket.accept is a wrapper of it
        except BlockingIOError:
            return
        except OSError as error:  # the system has no more descriptors, say
            self._relay.say(f"the broker at {self._place.path} could not accept: {error}")
            self._selector.unregister(self._listener)  # until the next look at the files
            return
        sock = socket(-1, -1, -1, fd)
        sock.setblocking(False)
        client = Client()
        self._clients[client] = sock
        self._selector.register(sock, READ, client)

    def _read(self, client: Client) -> None:
        try:
            data = self._clients[client].recv(READ_SIZE)
            self._relay.receive(client, data)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        except ValueError as error:
            self._relay.say(f"the broker at {self._place.path} closed a connection: {error}")
            data = b""
        if not data:
            self._drop(client)

    def _flush(self) -> None:
        """Send what clients have been given, as far as they take it."""
        while touched := self._relay.take_touched():
            for client in touched:
                if client in self._clients:
                    self._write(client)

    def _write(self, client: Client) -> None:
        sock = self._clients[client]
        try:
            while client.waiting and not client.is_cut_off:
                client.sent(sock.sendmsg(list(islice(client.waiting, PIECES))))
        except BlockingIOError:
            pass
        except OSError:
            client.is_cut_off = True
        if client.is_cut_off:
            self._drop(client)
        else:
            events = READ_AND_WRITE if client.waiting else READ
            if self._selector.get_key(sock).events != events:
                self._selector.modify(sock, events, client)

    def _drop(self, client: Client) -> None:
        sock = self._clients.pop(client)
        self._selector.unregister(sock)
        sock.close()
        self._relay.leave(client)
        self._lonely_since = time.monotonic()

    # -- files

    def _look_at_files(self) -> bool:
        """Now and then. Returns False when another broker is there."""
        if time.monotonic() < self._check_at:
            return True
        self._check_at = time.monotonic() + self._check
        path = self._place.path
        try:
            if not self._place.is_locked():
                self._relay.say(f"another process is the broker at {path} by now")
                self._flush()
                return False
            if not self._place.is_listened_on():
                self._listen_again()
            elif self._listener not in self._selector.get_map():
                self._selector.register(self._listener, READ)
            self._warned = False
        except OSError as error:
            if not self._warned:
                self._relay.say(f"no further process can join those at {path}: {error}")
                self._flush()
            self._warned = True
        return True

    def _listen_again(self) -> None:
        """The socket's file was removed, or is another one. Existing connections stay. Raises OSError."""
        old = self._listener
        listener = self._place.listen()
        if old in self._selector.get_map():
            self._selector.unregister(old)
        old.close()
        self._listen(listener)
        self._relay.say(f"{self._place.path} was removed, and is there again")
        self._flush()


def main(path: str, device: str, inode: str, check: str, linger: str) -> int:
    """What `__main__` runs. Returns the exit status."""
    os.setsid()  # away from the terminal and its Ctrl-C
    if os.fork():
        os._exit(0)  # the starter waits for its child's end, and for no longer
    for fd in map(int, os.listdir("/dev/fd")):
        if fd > 2:  # what an application has made inheritable
            with suppress(OSError):  # the one of this list, which is closed
                os.close(fd)
    os.chdir("/")
    place = Place(path, os.dup(1), (os.getpid(), int(device), int(inode)))
    listener = socket(-1, -1, -1, os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # from here on the clients log what there is to say, and the starter's output is not held open
        os.dup2(null, fd)
    os.close(null)
    broker = Broker(place, listener, float(check), float(linger))

    def end_soon(*_: object) -> None:
        broker.linger = 0.0

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, end_soon)
    broker.run()
    return 0
