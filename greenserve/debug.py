"""Looking into a program that runs: every green thread with its stack, and whatever blocks a hub."""

from greenserve.hub.debug import BlockingWatcher, dump, dump_on_signal, watch_blocking

__all__ = ["BlockingWatcher", "dump", "dump_on_signal", "watch_blocking"]
