"""python-engineio, and with it Socket.IO: its async_mode must be "threading" here, and is often chosen otherwise."""

from __future__ import annotations

import sys


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
