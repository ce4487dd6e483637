"""Eventlet's place for green threads."""

from greenserve.hub import GreenThread, getcurrent, kill, sleep, spawn, spawn_after, spawn_after_local, spawn_n

__all__ = ["GreenThread", "getcurrent", "kill", "sleep", "spawn", "spawn_after", "spawn_after_local", "spawn_n"]
