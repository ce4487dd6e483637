"""Blocking calls on OS threads: `execute` one, or let a `Proxy` make all calls of an object so."""

from greenserve.hub.proxy import Proxy
from greenserve.hub.threadpool import ThreadPool, default_pool, execute

__all__ = ["Proxy", "ThreadPool", "default_pool", "execute"]
