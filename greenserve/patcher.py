"""Eventlet's place for patching."""

from greenserve.green.monkey import import_patched, is_monkey_patched, monkey_patch, original

__all__ = ["import_patched", "is_monkey_patched", "monkey_patch", "original"]
