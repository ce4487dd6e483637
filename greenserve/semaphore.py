"""Eventlet's place for semaphores."""

from greenserve.hub import BoundedSemaphore, Semaphore

__all__ = ["BoundedSemaphore", "Semaphore"]
