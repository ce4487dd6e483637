"""PostgreSQL's drivers wait in C, in libpq; both let the hub do it, each in a way of its own."""

from __future__ import annotations

import sys
from typing import Any

from greenserve.hub.core.hub import running


def set_wait_callback(extensions: Any) -> None:
    """Have psycopg2 wait in the hub (psycopg2.extensions.set_wait_callback)."""
    extensions.set_wait_callback(wait_for_psycopg2)


def wait_for_psycopg2(connection: Any) -> None:
    """Park until what the connection is doing is done.

    What is raised here, a Timeout or a kill, ends the connection: psycopg2 closes it, for the answer that is under way
    would be taken for that of the next query.
    """
    hub = running().hub
    while (state := connection.poll()) != 0:  # POLL_OK
        if state == 1:  # POLL_READ
            hub.wait_readable(connection.fileno())
        elif state == 2:  # POLL_WRITE
            hub.wait_writable(connection.fileno())
        else:
            raise sys.modules["psycopg2"].OperationalError(f"psycopg2's connection.poll() says {state!r}")


def wait_by_poll(waiting: Any) -> None:
    """Have psycopg wait by `select.poll`, which is green; its faster function waits in C (psycopg.waiting)."""
    waiting.wait = getattr(waiting, "wait_poll", waiting.wait_selector)
