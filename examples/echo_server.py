"""A TCP echo server: each connection has a green thread of its own, and its code is plain and blocking.

python echo_server.py                 # then: nc 127.0.0.1 7000
python echo_server.py 127.0.0.1:9000

Ctrl-C or SIGTERM stops it: no new connection is accepted, and open ones have five seconds to finish.
"""

from __future__ import annotations

import signal
import sys

import greenserve

GRACE = 5.0  # seconds


def echo(connection, address):
    """Send back whatever comes, until the peer closes. The server closes the connection afterwards."""
    while data := connection.recv(65536):
        connection.sendall(data)


def main(address="127.0.0.1:7000"):
    host, _, port = address.rpartition(":")
    # At most a thousand connections at a time; further ones wait in the kernel's queue.
    server = greenserve.StreamServer((host, int(port)), echo, pool=1000)
    # A signal handler may not wait, and `stop` does: let a green thread do it.
    signal.signal(signal.SIGTERM, lambda *_: greenserve.spawn(server.stop, GRACE))
    server.start()
    print("listening on {}:{}".format(*server.address), flush=True)
    try:
        server.join()
    except KeyboardInterrupt:
        server.stop(GRACE)


if __name__ == "__main__":
    main(*sys.argv[1:])
