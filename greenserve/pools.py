"""Eventlet's place for pools of connections and the like."""

from greenserve.hub import Pool, TokenPool

__all__ = ["Pool", "TokenPool"]
