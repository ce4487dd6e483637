"""The server: listeners, connections, workers. `Server` is its interface."""

from greenserve.server.server import Server, serve

__all__ = ["Server", "serve"]
