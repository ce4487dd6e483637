"""Eventlet's place for pools of green threads."""

from greenserve.hub import GreenPile, GreenPool

__all__ = ["GreenPile", "GreenPool"]
