"""Prints docs/drivers.md from the table of drivers: `python tools/drivers_reference.py > docs/drivers.md`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from greenserve.patching.drivers import DRIVERS, Waits

PAGE = """\
# Database drivers and other clients

This page is generated from `greenserve/patching/drivers.py` by `make docs`; `greenserve check APP` shows the same for
the drivers that an application has imported.

While a request waits for its database, other requests go on if the driver waits in calls that have been patched. The
command patches them before it imports the application; a program calls `greenserve.monkey_patch()`, or is started with
`greenserve run`.

## Drivers that cooperate

Drivers written in Python need nothing: the sockets, locks and clocks that they use are green.

{cooperating}

psycopg2 and psycopg are written in C, and are told how to wait when they are imported, or at once if they have been
imported already. psycopg2 gets the wait callback that its documentation describes; while a query waits, a
`greenserve.Timeout` or a kill ends it and closes its connection, since the late answer might be taken for that of the
next query. A host's name is looked up by libpq itself, which blocks; an address, a Unix socket or a name
in the hosts file takes no time. psycopg looks names up by Python's `socket`, and its asynchronous connections are
asyncio's as before. `greenserve.monkey_patch(psycopg=False)` leaves both as they are.

SQLAlchemy's pools, psycopg_pool and the connection pools of redis-py, pymongo and urllib3 wait by locks and queues that
are green. A pool limits how many queries run at once: a thousand requests with SQLAlchemy's default pool share
fifteen connections.

## Drivers that block

A driver in C that makes its system calls itself stops every green thread while it waits. `greenserve check` warns
of these.

{blocking}

Call a driver that has no alternative in an OS thread, where it blocks no other request:

```python
import contextlib
import sqlite3

from greenserve import tpool


def count(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


assert tpool.execute(count, ":memory:") == 0
```
"""


def render() -> str:
    cooperating = [driver for driver in DRIVERS if driver.waits in (Waits.BY_ITSELF, Waits.TOLD)]
    blocking = [driver for driver in DRIVERS if driver not in cooperating]
    table = ["| package | how it waits |", "|---|---|", *(f"| {each.package} | {each.note} |" for each in cooperating)]
    remedies = [
        *("| package | imported as | it | remedy |", "|---|---|---|---|"),
        *(f"| {each.package} | `{each.module}` | {each.waits.value} | {each.note} |" for each in blocking),
    ]
    return PAGE.format(cooperating="\n".join(table), blocking="\n".join(remedies))


if __name__ == "__main__":
    sys.stdout.write(render())
