"""The feed of figures behind the page's chart, and the facts of the process."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from greenserve.demo.activity import Quota, activity
from greenserve.demo.slow import MAX_BURST
from greenserve.demo.web import Body, Refused, Request, Response, json_line
from greenserve.version import VERSION

INTERVAL = 0.1  # seconds between two samples
# Seconds, under a server that does not say when it stops (greenserve does, in the environ). A graceful stop waits for
# responses in progress: a feed without end would hold it up for as long as some page is open. The browser's EventSource
# comes back by itself, RETRY milliseconds after the end.
LIFETIME = 3.0
RETRY = 100

watchers = Quota(100)


def live(request: Request) -> Response:
    """Stream the process's figures as Server-Sent Events, ten times a second."""
    if not watchers.take():
        raise Refused("503 Service Unavailable", f"{watchers.most} pages are watching already.", [("Retry-After", "5")])
    stopping = request.environ.get("greenserve.stopping")
    return Response.stream(Body(samples(stopping), watchers.free), "text/event-stream")


def samples(stopping: Any = None) -> Iterator[bytes]:
    """The body of `live`: one event for each sample. stopping: an Event that is set when the server stops.

    late_ms is by how much the sleep before the sample was longer than asked for: while anything blocks the process
    it grows, so it is the plainest measure of how promptly the hub serves other requests.
    """
    begin = time.monotonic()
    late = 0.0
    yield b"retry: %d\n" % RETRY
    while stopping is not None or time.monotonic() - begin < LIFETIME:
        figures = {
            "in_flight": activity.in_flight,
            "peak": activity.peak,
            "served": activity.served,
            "uptime": round(activity.uptime, 1),
            "memory": resident_memory(),
            "late_ms": round(late * 1000, 2),
        }
        yield b"data: " + json_line(figures) + b"\n"
        before = time.monotonic()
        if stopping is None:
            time.sleep(INTERVAL)
        elif stopping.wait(INTERVAL):
            break
        late = max(0.0, time.monotonic() - before - INTERVAL)


def facts(request: Request) -> Response:
    """What stays the same while the process lives, as JSON."""
    return Response.json(
        {
            "greenserve": VERSION,
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "greenlet": version("greenlet"),
            "system": f"{platform.system()} {platform.release().partition('-')[0]}",
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "pid": os.getpid(),
            "server": request.environ.get("SERVER_SOFTWARE") or "unknown",
            "max_burst": MAX_BURST,
        }
    )


def resident_memory() -> int:
    """Bytes of memory that the process holds now; the most that it ever held where /proc is missing."""
    try:
        resident = Path("/proc/self/statm").read_bytes().split()[1]
        return int(resident) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
