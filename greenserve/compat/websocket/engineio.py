"""python-engineio, and with it Socket.IO: its async_mode must be "threading" here, and is often chosen otherwise; and
with several workers a server of it needs two things, each of which is easily forgotten.
"""

from __future__ import annotations

import gc
import os
import sys
import uuid
from collections.abc import Iterator
from typing import Any


def engineio_warning() -> str | None:
    """What to tell a user whose python-engineio has chosen green threads that do not run here; None: nothing.

    It takes the first of eventlet, gevent and threading that is installed, whatever the server.
    """
    for mode in ("eventlet", "gevent"):
        if f"engineio.async_drivers.{mode}" in sys.modules:
            return (
                f"python-engineio (Socket.IO) has chosen async_mode={mode!r}, because {mode} is installed; its green "
                "threads never run under greenserve: pass async_mode='threading' to Server or SocketIO"
            )
    return None


def prepare_for_workers(*, sticky: bool) -> Iterator[str]:
    """Have the Socket.IO servers of an application that was loaded work in each of several workers; to be called before
    these are forked. Gives what is to be told the user. sticky: whether a session's requests go to one worker.
    """
    servers = _servers()
    if not servers:
        return
    if not sticky:
        yield (
            "Socket.IO by long-polling needs every request of a session in one worker, and there are several: add "
            "--sticky sid, or have its clients use transports: ['websocket'] alone"
        )
    for server in servers:
        if hasattr(server.manager, "host_id"):
            # By it a manager knows what it has sent itself. Forked workers would take each other's messages for theirs.
            os.register_at_fork(after_in_child=lambda manager=server.manager: _rename(manager))
        else:
            yield (
                "an event that a Socket.IO server emits reaches the clients of the same worker alone, and there are "
                "several: give it client_manager=greenserve.compat.socketio.RoomsManager(), or a message queue"
            )


def _rename(manager: Any) -> None:
    manager.host_id = uuid.uuid4().hex


def _servers() -> list[Any]:
    """Those that the program has made."""
    server = getattr(sys.modules.get("socketio"), "Server", None)
    return [] if server is None else [each for each in gc.get_objects() if isinstance(each, server)]
