"""What a worker does just now, as text: its requests in progress, and where each green thread and OS thread is."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterator

from greenserve.hub import debug
from greenserve.hub.core.hub import all_hubs
from greenserve.server.connection import Connection
from greenserve.server.worker import Worker

MOST = 100  # requests that are listed, the oldest first


def show(worker: Worker) -> str:
    """May be called between any two instructions, by a signal handler."""
    lines = [f"greenserve: what worker process {os.getpid()} does\n", *_requests(worker), debug.dump(), *_os_threads()]
    return "".join(lines)


def _requests(worker: Worker) -> Iterator[str]:
    now = worker.hub.clock()
    found = [
        (now - each.cycle.started, each)
        for each in list(worker.connections)
        if isinstance(each, Connection) and each.greenlet is not None and each.cycle is not None
    ]
    found.sort(key=lambda item: -item[0])
    yield f"{len(found)} requests in progress\n"
    for seconds, connection in found[:MOST]:
        yield f"  {seconds:8.1f} s  {connection.request_line} from {connection.peer}{_identity(connection)}\n"


def _identity(connection: Connection) -> str:
    """By which a proxy's log knows the request in progress too, if it says so."""
    request = connection.cycle.request if connection.cycle is not None else None
    name = request.get("x-request-id") if request is not None else None
    return f", X-Request-Id {ascii(name[:200])[1:-1]}" if name else ""


def _os_threads() -> Iterator[str]:
    """Those without a hub, of which `dump` knows."""
    known = {hub.thread_id for hub in all_hubs()}
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        if ident not in known:
            yield f"OS thread {ident} ({names.get(ident, 'unknown')}):\n"
            yield from traceback.format_list(traceback.extract_stack(frame))
