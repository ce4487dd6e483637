"""A chat over TCP: two green threads for each member, one that reads and one that writes.

python tcp_chat.py [HOST:PORT]        # then, in several terminals: nc 127.0.0.1 7002

Messages go into a bounded queue for each member. A member that reads too slowly, so that its queue becomes full, is
disconnected: no other member waits for it, and it does not fill the memory either.
"""

from __future__ import annotations

import signal
import sys

import greenserve
from greenserve.green import socket

BACKLOG = 100  # lines that a member may be behind
LONGEST = 1000  # bytes of a line


class Member:
    def __init__(self, name, connection):
        self.name = name
        self.connection = connection
        self.lines = greenserve.Queue(BACKLOG)


class Room:
    def __init__(self):
        self.members = {}

    def say(self, line):
        for member in list(self.members.values()):
            try:
                member.lines.put_nowait(line)
            except greenserve.Full:
                self.leave(member)
                hang_up(member.connection)
            except greenserve.ShutDown:  # the member is leaving
                pass

    def join(self, member):
        self.members[member.name] = member
        self.say(f"* {member.name} is here ({len(self.members)})")

    def leave(self, member):
        if self.members.pop(member.name, None) is not None:
            member.lines.shutdown()  # the member's writer sends what is left, and ends
            self.say(f"* {member.name} has left ({len(self.members)})")


def read_lines(file):
    while line := file.readline(LONGEST):
        if text := line.decode(errors="replace").strip():
            yield text


def write_lines(connection, lines):
    try:
        for line in lines:  # ends when the queue is shut down and empty
            connection.sendall(f"{line}\n".encode())
    except OSError:  # the member is gone, or was sent away
        pass


def hang_up(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)  # wakes its reader and its writer
    except OSError:
        pass


def main(address="127.0.0.1:7002"):
    host, _, port = address.rpartition(":")
    room = Room()
    server = greenserve.StreamServer((host, int(port)))

    @server.on_connect
    def attend(connection, address):
        with connection.makefile("rb") as file:
            connection.sendall(b"your name?\n")
            lines = read_lines(file)
            name = next(lines, None)
            if name is None:
                return
            if name in room.members:
                connection.sendall(b"that name is taken\n")
                return
            member = Member(name, connection)
            with greenserve.TaskGroup() as group:  # ends when both have: the reader here, and the writer
                group.spawn(write_lines, connection, member.lines)
                room.join(member)
                try:
                    for line in lines:
                        room.say(f"{name}: {line}")
                except OSError:  # the member went away without a word
                    pass
                finally:
                    room.leave(member)

    signal.signal(signal.SIGTERM, lambda *_: greenserve.spawn(server.stop, 1.0))
    server.start()
    print("listening on {}:{}".format(*server.address), flush=True)
    try:
        server.join()
    except KeyboardInterrupt:
        server.stop(1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
