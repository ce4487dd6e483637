"""`greenserve ps`, `reload` and `stop`: a running server, by its pid; what it does is read in its table of workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from greenserve.cli.health import server_of
from greenserve.process.pid_file import living
from greenserve.supervisor.table import Cell, Slot, State, Table

_PROC = Path("/proc/self")
PAUSE = 0.05  # seconds between two looks
SECOND = 1_000_000_000  # nanoseconds
_ALONE = "has no workers, since it is one process"


class Refused(Exception):
    """The server cannot do what is wanted, or has not done it. The text says why, and what to do instead."""


def find(pid: int | None, pid_file: str | None) -> int:
    """The server that is meant. Raises Refused, ConfigurationError."""
    if pid is not None and _PROC.exists() and server_of(pid) is None:
        raise Refused(f"the process {pid} is no `greenserve` command") if _lives(pid) else _no_process(pid)
    if pid is None and pid_file is not None:
        pid = living(Path(pid_file).absolute())
        if pid is None:
            raise Refused(f"no server runs, says {pid_file} (from pid_file)")
    if pid is None and server_of(1) is not None:  # in a container
        pid = 1
    if pid is None:
        raise Refused("which server is meant? Name it by --pid NUMBER, or by the --pid-file that it was started with")
    return pid


def reload(pid: int, seconds: float) -> str:
    """Have it load the application anew, and wait at most `seconds`. What was done, in words. Raises Refused."""
    table = _table(pid)
    if table is None:
        raise Refused(f"the server {pid} {_ALONE}: it can be reloaded if it is started with --workers 2 or more")
    own = table[0]
    done, failed = own[Cell.RELOADED], own[Cell.NOT_RELOADED]
    ends = 2 if own[Cell.STATE] == State.STARTING else 1  # a reload is going on, and ours follows it
    _send(pid, signal.SIGHUP)
    for _ in _looks(seconds):
        if own[Cell.RELOADED] + own[Cell.NOT_RELOADED] >= done + failed + ends:
            break
        if not _lives(pid) or own[Cell.STATE] == State.DRAINING:
            raise Refused(f"the server {pid} has stopped meanwhile")
    else:
        raise Refused(f"the server {pid} still reloads after {seconds:g} s; its log tells how far it is")
    if own[Cell.NOT_RELOADED] > failed:
        raise Refused("the new code cannot be served, and the workers of before go on; the log of the server says why")
    newest = max((slot[Cell.GENERATION] for slot in table.used()), default=0)  # an old one may not have heard its end
    ready = [slot for slot in table.used() if slot[Cell.STATE] == State.READY and slot[Cell.GENERATION] == newest]
    return f"reloaded: {len(ready)} workers run the new code"


def stop(pid: int, seconds: float) -> str:
    """Have it stop gracefully, and wait at most `seconds`. What was done, in words. Raises Refused."""
    _send(pid, signal.SIGTERM)
    for _ in _looks(seconds):
        if not _lives(pid):
            return "stopped"
    raise Refused(f"the server {pid} still finishes requests after {seconds:g} s; `kill {pid}` ends them")


def workers(pid: int) -> list[dict[str, int | float | str]]:
    """What each worker does. Raises Refused."""
    table = _table(pid)
    if table is None:
        raise Refused(f"the server {pid} {_ALONE}: `ps -p {pid}` tells what there is to tell")
    now = time.monotonic_ns()
    return [_row(slot, now) for slot in table.used() if slot[Cell.STATE] != State.FREE]


def as_table(rows: list[dict[str, int | float | str]]) -> str:
    """Columns for people."""
    names = list(rows[0]) if rows else []
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(names))]
    return "\n".join("  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True)) for line in lines)


def _row(slot: Slot, now: int) -> dict[str, int | float | str]:
    began, heard = slot[Cell.STARTED], slot[Cell.HEARTBEAT]
    oldest = slot[Cell.OLDEST]
    return {
        "worker": slot.index,
        "pid": slot[Cell.PID],
        "generation": slot[Cell.GENERATION],
        "state": State(slot[Cell.STATE]).name.lower(),
        "age_s": round((now - began) / SECOND) if began else 0,
        "connections": slot[Cell.CONNECTIONS],
        "requests": slot[Cell.REQUESTS],
        "waiting": slot[Cell.WAITING],
        "oldest_s": round(max(0, now - oldest) / SECOND, 1) if oldest else 0,
        "served": slot[Cell.SERVED],
        "memory_mib": slot[Cell.MEMORY] >> 20,
        "heartbeat_s": round(max(0, now - heard) / SECOND, 1) if heard else 0,
    }


def _table(pid: int) -> Table | None:
    try:
        return Table.of_process(pid)
    except FileNotFoundError:
        if not _PROC.exists():
            raise Refused("this system has no /proc: send the signals of docs/deploy.md by kill") from None
        raise _no_process(pid) from None
    except PermissionError:
        raise _not_ours(pid) from None


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise _no_process(pid) from None
    except PermissionError:
        raise _not_ours(pid) from None


def _no_process(pid: int) -> Refused:
    return Refused(f"there is no process {pid}: name one that lives by --pid, or the server's --pid-file")


def _not_ours(pid: int) -> Refused:
    return Refused(f"the process {pid} is another user's: run this as that user, or as root")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # A zombie has ended; its parent has not asked for its exit status.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] != "Z"
    except ProcessLookupError:
        return False
    except OSError:  # another user's; or no Linux
        return True


def _looks(seconds: float) -> Iterator[None]:
    by = time.monotonic() + seconds
    while time.monotonic() < by:
        yield
        time.sleep(PAUSE)
