"""A client's bytes, as a green thread that serves its request sends and receives them: it waits where it must.

Reading and writing are two waits with a deadline each, which the worker's sweep compares once a second: a request may
read its body in one green thread and write in another. A client as quick as we are never makes us wait: so a green
thread that moves much gives way to others when the hub's look at its descriptors is due.
"""

from __future__ import annotations

from typing import Any

from greenlet import getcurrent

from greenserve.errors import ClientDisconnected, InvalidResponse
from greenserve.http.parser import RequestParser
from greenserve.hub.core.hub import Carrier
from greenserve.net.send_buffer import FileSlice
from greenserve.net.transport import Transport

LARGE = 65536  # bytes of a piece: above it is counted with what was left to the hub, though its green thread waits
NEVER = float("inf")


class Stream(Transport):
    """A connection's transport, and what it has received. The deadlines of its waits are the connection's; what fails
    is raised as ClientDisconnected.
    """

    __slots__ = ("parser", "worker")

    def __init__(self, worker: Any, sock: Any, parser: RequestParser) -> None:
        super().__init__(worker.hub, sock)
        self.worker = worker  # the Worker
        self.parser = parser

    def belong_to(self, owner: Any) -> None:
        """Have `owner` called when there is something to read, which there is at once if it has come already."""
        self.owner = owner
        if self.drained:
            self.on_readable(owner)
        else:
            self.worker.hub.make_ready(owner)

    # -- to the client

    def send(self, data: bytes) -> None:
        """Send all of `data`, waiting for the client at most write_timeout seconds at a time."""
        try:
            if not self.write(data):
                self._wait_sent()
        except OSError as error:
            raise gone(error) from None
        hub = self.worker.hub
        clock = hub.clock
        if clock() >= hub.poll_time:  # asked for every piece: so without the two calls
            self.give_way()

    def finish(self, data: bytes) -> None:
        """Send the end of a response. What the client does not take at once the hub sends, whatever the application
        does meanwhile.
        """
        try:
            if not self.write(data):
                self._leave()
        except OSError as error:
            raise gone(error) from None

    def finish_large(self, *pieces: bytes) -> None:
        """`finish` with pieces that are not worth a copy."""
        try:
            if not self.write_together(pieces):
                self._leave()
        except OSError as error:
            raise gone(error) from None

    def finish_file(self, fd: int, offset: int, count: int) -> None:
        """`finish` with a regular file, by sendfile(2): from the file to the socket within the kernel."""
        file = FileSlice(fd, offset, count)
        try:
            if not count or self.write_file(file):
                return
            try:
                file.keep()
            except OSError:  # out of descriptors: then this green thread waits
                self._wait_sent()
            else:
                self._leave()
        except OSError as error:
            raise gone(error) from None

    def _leave(self) -> None:
        """Leave what waits to the hub; see outstanding.py."""
        if self.buffer is not None:  # else this is another OS thread, and the hub has been quick
            self.allow_more_time()
            self.worker.outstanding.add(self.owner)

    def _wait_sent(self) -> None:
        """Wait until the client has taken all. At the deadline the sweep raises ClientDisconnected."""
        buffer = self.buffer
        if buffer is None:  # see `_leave`
            return
        self.allow_more_time()
        if buffer.size > LARGE:
            self.worker.outstanding.add(self.owner)
        try:
            buffer.wait()
        except (OSError, InvalidResponse):
            raise
        except BaseException:  # only a part of what was to be sent is: a Timeout of the application's has come, say
            self.owner.cut_short()
            raise

    def allow_more_time(self) -> None:
        """The client has all of write_timeout again to take some of what waits."""
        self.owner.write_deadline = self.worker.hub.clock() + self.worker.write_timeout

    # -- from the client

    def take(self, size: int) -> int:
        """Give what has come to `parser`. Returns how many bytes, 0 for the end, -1 for nothing."""
        try:
            data = self.receive(size)
        except OSError as error:
            raise gone(error) from None
        if data is None:
            return -1
        self.parser.receive_data(data)
        return len(data)

    def take_into(self, buffer: memoryview) -> int:
        """`take`, of octets that are due to `parser`, into `buffer` and past it."""
        try:
            count = self.receive_into(buffer)
        except OSError as error:
            raise gone(error) from None
        if count > 0:
            self.parser.pass_by(count)
        elif not count:
            self.parser.receive_data(b"")
        return count

    def wait_read(self, timeout: float) -> None:
        """Park until something has come. At the deadline the sweep raises RequestTimeout."""
        connection = self.owner
        if connection is None:
            raise ClientDisconnected("the connection is closed")
        connection.deadline = self.worker.hub.clock() + timeout
        try:
            self.wait_readable()
        except OSError as error:
            raise gone(error) from None
        finally:
            connection.deadline = NEVER

    def give_way(self) -> None:
        """Let others run when this turn is over."""
        hub = self.worker.hub
        if hub.turn_is_over():
            greenlet = getcurrent()  # of the pool, or the application's own
            if isinstance(greenlet, Carrier) and greenlet.hub is hub:
                hub.pause(greenlet)


def gone(error: OSError) -> ClientDisconnected:
    """What an error of the client's socket means."""
    return error if isinstance(error, ClientDisconnected) else ClientDisconnected(f"the client went away: {error}")
