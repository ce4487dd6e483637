"""The server: listeners, connections, workers. `Server` is the whole of it for everybody else."""

from greenserve.server.server import Server, serve

__all__ = ["Server", "serve"]
