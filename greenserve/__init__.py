"""greenserve: a concurrent WSGI and WebSocket application server on green threads. Here are its public names."""

from __future__ import annotations

from greenserve.version import VERSION as __version__

__all__ = ["__version__"]
