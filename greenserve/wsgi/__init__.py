"""PEP 3333: what stands between a connection and the application. No socket here: bytes go through a `Transport`.

`greenserve.wsgi.server(sock, app)` is found here because Eventlet's programs look for it here; it is the server's.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from greenserve.wsgi.environ import EnvironTemplate
from greenserve.wsgi.gateway import Exchange
from greenserve.wsgi.response import FileWrapper
from greenserve.wsgi.transport import Transport

__all__ = ["EnvironTemplate", "Exchange", "FileWrapper", "Transport"]


def __getattr__(name: str) -> Any:
    """`server`: the one name of this package that belongs to a room above it, and so is imported when it is used."""
    if name != "server":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("greenserve.server.eventlet").server
