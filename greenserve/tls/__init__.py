"""TLS in the server: from settings to the `ssl.SSLContext` of each new connection, and what its requests are told.

The socket's part is in net/tls.py; nothing here reads from or writes to a connection.
"""

from __future__ import annotations

from greenserve.tls.contexts import Contexts, FixedContext
from greenserve.tls.listeners import check, is_on, with_scheme
from greenserve.tls.redirect import Redirect

__all__ = ["Contexts", "FixedContext", "Redirect", "check", "is_on", "with_scheme"]
