"""Eventlet's place for patching."""

from greenserve.patching.import_patched import import_patched
from greenserve.patching.monkey import is_monkey_patched, monkey_patch
from greenserve.patching.originals import original

__all__ = ["import_patched", "is_monkey_patched", "monkey_patch", "original"]
