"""Whether the application can answer: before a worker accepts connections, it asks itself for `ready_path`.

The request comes over a pair of sockets, which no client sees, and goes through the server as any other. So what an
application does with its first request (connections to a database, caches, templates) is done before users come.
"""

from __future__ import annotations

import logging
from typing import Any

from greenserve.errors import LoadError
from greenserve.hub.greenthread import sleep
from greenserve.hub.timeout import Timeout
from greenserve.net.pair import ask_itself

logger = logging.getLogger("greenserve.server")

PAUSE = 0.5  # seconds between two requests
ENOUGH = len("HTTP/1.1 200 ")  # bytes


def wait_until_ready(worker: Any, path: str | None, seconds: float) -> None:
    """Return when the application of `worker` (a Worker) answers with 2xx at `path`, or the worker is to stop.

    path: None for no question. Raises LoadError when it does not within `seconds`.
    """
    if path is None:
        return
    found = said = ""
    with Timeout(seconds, False):
        while not worker.draining:
            found = _ask(worker, path)
            if found.startswith("2"):
                return
            if found != said:
                said = found
                logger.warning("not ready yet: ready_path = %s is answered with %s", path, found)
            sleep(PAUSE)
        return
    raise LoadError(
        f"not ready within {seconds:g} s (ready_timeout): the application answers ready_path = {path} with "
        f"{found or 'nothing'}"
    )


def _ask(worker: Any, path: str) -> str:
    """The status, as its three digits; "nothing" if there is none."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    answer = ask_itself(worker.welcome_itself, request, ENOUGH)
    return answer[9:12].decode("ascii", "replace") or "nothing"
