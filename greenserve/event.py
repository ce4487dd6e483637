"""Eventlet's place for Event."""

from greenserve.hub import AsyncResult, Event, Flag

__all__ = ["AsyncResult", "Event", "Flag"]
