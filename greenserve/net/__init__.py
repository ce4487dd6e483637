"""Connections and servers for streams and datagrams."""

from greenserve.green.net import bind, connect, listen, wrap_ssl
from greenserve.green.streamserver import DatagramServer, StopServe, StreamServer, serve

__all__ = ["DatagramServer", "StopServe", "StreamServer", "bind", "connect", "listen", "serve", "wrap_ssl"]
