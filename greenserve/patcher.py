"""Eventlet's place for patching."""

from greenserve.green.monkey import is_monkey_patched, monkey_patch, original

__all__ = ["is_monkey_patched", "monkey_patch", "original"]
