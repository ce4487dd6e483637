"""One connection's wire: what moves bytes between its transport and the request in progress, and waits where it must.

Reading and writing are two waits with a deadline each, which the host's sweep compares once a second: a request may
read its body in one green thread and write in another. A client as quick as we are never makes us wait: so a thread
that moves much gives way to others when the hub's look at its descriptors is due.
"""

from __future__ import annotations

from typing import Any

from greenlet import getcurrent

from greenserve.errors import ClientDisconnected, InvalidResponse
from greenserve.http.head import RequestHead
from greenserve.http.parser import RequestParser
from greenserve.hub.hub import Carrier
from greenserve.net.send_buffer import FileSlice
from greenserve.server.body import RequestBody
from greenserve.server.phases import Phase
from greenserve.server.pool import PoolJob

UNSENT_LIMIT = 64 << 20  # bytes that all clients together have still to take after their applications have ended
NEVER = float("inf")


class Wire(PoolJob):
    """Transport and received bytes of one connection: the I/O part of wsgi.transport.Transport."""

    __slots__ = ("body", "deadline", "parser", "phase", "transport", "write_deadline")

    low_water = 0  # a green thread that writes goes on when all of it has left

    host: Any  # the Worker
    transport: Any  # a Transport, or what stands for it once it is given away
    request: RequestHead | None
    phase: Phase
    deadline: float  # of the phase; in RUN, of the wait for the request's body
    write_deadline: float  # of the wait for the client to take bytes; then it is cut off
    parser: RequestParser
    body: RequestBody | None  # of the request in progress, if it has one

    @property
    def request_line(self) -> str:
        """The request in progress, or the last one, for messages."""
        request = self.request
        return f"{request.method} {request.target} HTTP/{request.http_version}" if request else "no request"

    # -- to the client

    def send(self, data: bytes) -> None:
        """Send all of `data`, waiting for the client at most write_timeout seconds at a time."""
        try:
            if not self.transport.write(data):
                self._wait_sent()
        except OSError as error:
            raise gone(error) from None
        hub = self.host.hub
        if hub.clock() >= hub.poll_time:  # asked for every piece: so without the two calls
            self.give_way()

    def finish(self, data: bytes) -> None:
        """Send the end of a response. What the client does not take at once the hub sends, whatever the application
        does meanwhile.
        """
        try:
            if not self.transport.write(data):
                self._leave()
        except OSError as error:
            raise gone(error) from None

    def finish_large(self, head: bytes, body: bytes) -> None:
        """`finish` a whole response whose body is not worth a copy."""
        try:
            if not self.transport.write_two(head, body):
                self._leave()
        except OSError as error:
            raise gone(error) from None

    def finish_file(self, fd: int, offset: int, count: int) -> None:
        """`finish` with a regular file, by sendfile(2): from the file to the socket within the kernel."""
        file = FileSlice(fd, offset, count)
        try:
            if not count or self.transport.write_file(file):
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
        """Leave what waits to the hub, unless it is too much: green threads are the bound on memory that remains."""
        buffer, host = self.transport.buffer, self.host
        if buffer is None:  # this is another OS thread, and the hub has been quick
            return
        if host.unsent + buffer.size > UNSENT_LIMIT:
            self._wait_sent()
        else:
            self.on_sent()
            buffer.count_in(host)

    def _wait_sent(self) -> None:
        """Wait until the client has taken all. At the deadline the sweep raises ClientDisconnected."""
        buffer = self.transport.buffer
        if buffer is None:  # see `_leave`
            return
        self.on_sent()
        try:
            buffer.wait()
        except (OSError, InvalidResponse):
            raise
        except BaseException:  # only a part of what was to be sent is: a Timeout of the application's has come, say
            self.cut_short()
            raise

    def on_sent(self) -> None:
        """The client has time again to take some of what waits."""
        self.write_deadline = self.host.hub.clock() + self.host.write_timeout

    # -- from the client

    def receive(self, size: int) -> int:
        """Take what has come. Returns how many bytes, 0 for the end, -1 for nothing. Raises ClientDisconnected."""
        try:
            data = self.transport.receive(size)
        except OSError as error:
            raise gone(error) from None
        if data is None:
            return -1
        self.parser.receive_data(data)
        return len(data)

    def settle_body(self) -> bool:
        """The response begins: say whether what is left of the request's body can be skipped."""
        return self.body is None or self.body.settle()

    def wait_read(self, timeout: float) -> None:
        """Park until the socket is readable again. At the deadline the sweep raises RequestTimeout."""
        self.deadline = self.host.hub.clock() + timeout
        try:
            self.transport.wait_readable()
        except OSError as error:
            raise gone(error) from None
        finally:
            self.deadline = NEVER

    def cut_short(self) -> None:
        """Nothing may follow what was sent."""
        raise NotImplementedError

    def give_way(self) -> None:
        """Let others run when this turn is over."""
        hub = self.host.hub
        if hub.turn_is_over():
            greenlet = getcurrent()  # of the pool, or the application's own
            if isinstance(greenlet, Carrier) and greenlet.hub is hub:
                hub.pause(greenlet)


def gone(error: OSError) -> ClientDisconnected:
    """What an error of the client's socket means."""
    return error if isinstance(error, ClientDisconnected) else ClientDisconnected(f"the client went away: {error}")
