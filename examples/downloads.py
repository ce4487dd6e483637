"""A thousand downloads at once, through `requests`, which knows nothing of green threads.

python downloads.py [HOW_MANY]        # needs: pip install requests

The program starts the server that it downloads from, so it needs no network: each answer takes a tenth of a second.
`monkey_patch` comes first: what `requests` imports after it is green.
"""

from __future__ import annotations

import greenserve

greenserve.monkey_patch()

import hashlib  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import requests  # noqa: E402

DELAY = 0.1  # seconds that the server takes for each answer
SIZE = 10_000  # bytes of it


def content(path):
    return hashlib.shake_256(path.encode()).digest(SIZE)


def app(environ, start_response):
    time.sleep(DELAY)
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(SIZE))])
    return [content(environ["PATH_INFO"])]


def download(url):
    response = requests.get(url, timeout=30)
    response.raise_for_status()
    return response.content


def main(count="1000"):
    count = int(count)
    allow_open_files(4 * count)  # a connection has two ends, and here both are ours
    with greenserve.Server(app, bind="127.0.0.1:0", concurrency=count) as server:  # in an OS thread of its own
        urls = [f"{server.url}/files/{number}" for number in range(count)]
        pool = greenserve.GreenPool(count)
        begun = time.monotonic()
        bodies = list(pool.imap(download, urls))  # in the order of `urls`, whichever ends first
        took = time.monotonic() - begun
    right = sum(body == content(f"/files/{number}") for number, body in enumerate(bodies))
    print(f"{right} of {count} downloads are right: {took:.2f} s; one after another: {count * DELAY:.0f} s at least")
    return 0 if right == count else 1


def allow_open_files(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
