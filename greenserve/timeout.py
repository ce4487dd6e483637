"""Eventlet's place for timeouts."""

from greenserve.hub import Timeout, is_timeout, with_timeout

__all__ = ["Timeout", "is_timeout", "with_timeout"]
