"""What one of several workers has of what the settings give to the server as a whole.

Strategy. Memory, disk and connections are the machine's, so their limits are divided: the sum is what the settings say,
however many workers there are. Time, sizes of one request or message, and what a worker can do at once are each
worker's own. A worker's part is never so small that it could not serve what the settings allow a single client. While
workers are replaced, those that drain have their parts as well.
"""

from __future__ import annotations

import dataclasses
from math import ceil, sqrt

from greenserve.server import machine, outstanding
from greenserve.settings import MOST_WORKERS, Settings

MESSAGES = 4  # of the largest size, which the WebSockets of a worker may at least hold together
DEVIATIONS = 3  # standard ones: of a thousand clients with as many connections as they may have, one is refused one


def wanted(settings: Settings) -> int:
    """How many workers the settings ask for on this machine."""
    return settings.workers or min(machine.processors(), MOST_WORKERS)


def share(settings: Settings, workers: int, files: int | None = None) -> Settings:
    """The settings of one of so many workers. files: how many each may open, by default as this process."""
    if workers == 1:
        return settings
    connections, messages = settings.max_connections, settings.ws_max_memory
    if connections is None:
        connections = machine.connections(settings.max_head, files, workers)
    else:
        connections = ceil(connections / workers)
    if messages is not None:
        messages = _part(messages, workers, MESSAGES * (settings.ws_max_message or 0))
    return dataclasses.replace(
        settings,
        workers=workers,
        max_connections=connections,
        max_connections_per_client=_of_client(settings.max_connections_per_client, workers),
        max_unsent=ceil((settings.max_unsent or outstanding.default_limit()) / workers),
        ws_max_memory=messages,
        buffer_chunked_total=_part(settings.buffer_chunked_total, workers, settings.buffer_chunked or 0),
    )


def _part(whole: int, workers: int, least: int) -> int:
    return max(ceil(whole / workers), min(whole, least))


def _of_client(whole: int | None, workers: int) -> int | None:
    """Which worker gets a client's next connection is chance, so one may have more of them than another."""
    if whole is None:
        return None
    mean = whole / workers
    return min(whole, ceil(mean + DEVIATIONS * sqrt(mean)))
