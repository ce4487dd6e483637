"""PEP 3333: what stands between a connection and the application. No socket here: bytes go through the connection.

`greenserve.wsgi.server(sock, app)` is found here because Eventlet's programs look for it here; nothing in here uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenserve.wsgi.environ import EnvironTemplate
from greenserve.wsgi.file_wrapper import FileWrapper
from greenserve.wsgi.gateway import Gateway

__all__ = ["EnvironTemplate", "Exchange", "FileWrapper", "Gateway", "server"]

Exchange = Gateway  # its former name

if TYPE_CHECKING:
    from greenserve.compat.eventlet import server
else:

    def __getattr__(name: str) -> Any:
        if name != "server":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from greenserve.compat.eventlet import server  # noqa: PLC0415 - it stands on this package, which must be first

        return server
