"""A server made of callbacks: no green thread waits for a connection, the hub calls functions.

python callback_server.py [HOST:PORT]
nc 127.0.0.1 7001
2.5 tea is ready            <- what you type: seconds, and a text; it comes back when they have passed

`on_readable`, `on_writable` and `call_later` are all that it needs. A callback runs in the hub itself, so it must not
wait for anything; one that wants to spawns a green thread. An idle connection costs no more than its two objects.
"""

from __future__ import annotations

import signal
import sys

import greenserve

IDLE = 60.0  # seconds until a silent client is sent away
LONGEST = 1000  # bytes of a line


class Client:
    """One connection: what has come of a line, what has not been sent yet, and when to give up."""

    def __init__(self, hub, sock):
        self.hub = hub
        self.sock = sock
        self.received = b""
        self.unsent = b""
        self.reading = hub.on_readable(sock.fileno(), self.readable)
        self.writing = None
        self.idle = hub.call_later(IDLE, self.close)

    def readable(self):
        try:
            data = self.sock.recv(4096)
        except BlockingIOError:  # nothing after all
            return
        except OSError:
            data = b""
        *lines, self.received = (self.received + data).split(b"\n")
        if not data or len(self.received) > LONGEST:
            self.close()
            return
        self.idle.cancel()
        self.idle = self.hub.call_later(IDLE, self.close)
        for line in lines:
            self.remind(line.decode(errors="replace").strip())

    def remind(self, line):
        seconds, _, text = line.partition(" ")
        try:
            delay = float(seconds)
        except ValueError:
            self.send("SECONDS TEXT, please")
            return
        self.hub.call_later(delay, self.send, text)

    def send(self, text):
        if self.sock.fileno() < 0:  # gone, before the time had come
            return
        self.unsent += text.encode() + b"\n"
        if self.writing is None:
            self.flush()

    def flush(self):
        try:
            self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except BlockingIOError:  # the peer does not read: go on when it does
            pass
        except OSError:
            self.close()
            return
        if self.unsent and self.writing is None:
            self.writing = self.hub.on_writable(self.sock.fileno(), self.flush)
        elif not self.unsent and self.writing is not None:
            self.writing.cancel()
            self.writing = None

    def close(self):
        for activity in (self.reading, self.writing, self.idle):
            if activity is not None:
                activity.cancel()
        self.sock.close()


def main(address="127.0.0.1:7001"):
    host, _, port = address.rpartition(":")
    hub = greenserve.current_hub()
    listener = greenserve.listen((host, int(port)))
    listener.setblocking(False)

    def accept():
        try:
            sock, _ = listener.accept()
        except OSError:  # it went away while it waited
            return
        sock.setblocking(False)
        Client(hub, sock)

    hub.on_readable(listener.fileno(), accept)
    print("listening on {}:{}".format(*listener.getsockname()), flush=True)
    stop = greenserve.Flag()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        stop.wait()  # main waits, and meanwhile the hub calls
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
