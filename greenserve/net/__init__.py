"""Connections and servers for streams and datagrams."""

from greenserve.net.sockets import bind, connect, listen, wrap_ssl
from greenserve.net.streamserver import DatagramServer, StopServe, StreamServer, serve

__all__ = ["DatagramServer", "StopServe", "StreamServer", "bind", "connect", "listen", "serve", "wrap_ssl"]
