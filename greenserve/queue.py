"""Eventlet's place for queues."""

from greenserve.hub import Channel, Empty, Full, LifoQueue, LightQueue, PriorityQueue, Queue, ShutDown, SimpleQueue

__all__ = ["Channel", "Empty", "Full", "LifoQueue", "LightQueue", "PriorityQueue", "Queue", "ShutDown", "SimpleQueue"]
