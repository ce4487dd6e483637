"""The longest of many words, measured by a slow server: a program ported from Eventlet (before.py)."""

import hashlib

import greenserve
from greenserve import net, tpool
from greenserve.event import Event
from greenserve.queue import Queue

WORDS = ["hub", "greenlet", "slow", "socket", "semaphore", "queue"]


def measure(sock, address):
    """The server's side of a connection: a word comes, its length goes."""
    word = sock.recv(100).decode()
    greenserve.sleep(60 if word == "slow" else 0.05)
    sock.sendall(str(len(word)).encode())


def ask(address, word):
    """The client's side: how long a word is; 0 when the server takes too long."""
    sock = greenserve.connect(address)
    length = 0
    with greenserve.Timeout(1, False):
        sock.sendall(word.encode())
        length = int(sock.recv(100))
    sock.close()
    return length


def find_longest(measured, longest):
    """Take (length, word) from a queue until None comes, and send the greatest."""
    best = (0, "")
    while (item := measured.get()) is not None:
        best = max(best, item)
    longest.send(best)


def main():
    listener = greenserve.listen(("127.0.0.1", 0))
    server = greenserve.spawn(net.serve, listener, measure, concurrency=10)
    measured, longest = Queue(), Event()
    greenserve.spawn_n(find_longest, measured, longest)

    pool = greenserve.GreenPool(3)
    address = listener.getsockname()
    for word, length in zip(WORDS, pool.imap(ask, [address] * len(WORDS), WORDS), strict=True):
        print(f"{word}: {length or 'timed out'}")
        measured.put((length, word))
    measured.put(None)

    length, word = longest.wait()
    digest = tpool.execute(hashlib.sha256, word.encode()).hexdigest()
    print(f"the longest is {word} ({length}), {digest[:8]}")
    server.kill()


if __name__ == "__main__":
    main()
