"""The server: connections, requests, the worker that serves them. `Server` is its interface."""

from greenserve.server.server import Server, serve

__all__ = ["Server", "serve"]
