"""Does anything grow? A million times: spawn, kill, sockets, timeouts; and every now and then, what there is of it all.

    python tools/flatness.py                     # a few minutes
    python tools/flatness.py --cycles 50000

A cycle spawns a green thread and waits for it, kills one that sleeps, lets one fail, cancels a timeout, has one fire,
and sends a message over a pair of sockets of which one end waits. The cyclic garbage collector is off: what only it
could free would show. Prints a table in Markdown; the exit code is 1 if the second half of it shows growth.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from dataclasses import astuple, dataclass
from pathlib import Path

import greenserve
from greenserve.green import socket

RESIDENT_SLACK = 1 << 20  # bytes by which resident memory may change: the allocator's, not ours
OBJECT_SLACK = 200  # objects, and references to None: the interpreter's own come and go
SAMPLES = 10


@dataclass(frozen=True)
class Sample:
    """What there is after so many cycles."""

    cycles: int
    resident: int  # bytes
    objects: int  # that the collector knows of
    references: int  # to None, to the hub, and to the main green thread
    descriptors: int
    seconds: float


def cycle() -> None:
    """All of it once."""
    greenserve.spawn(int).wait()
    asleep = greenserve.spawn(greenserve.sleep, 1000)
    greenserve.sleep(0)
    asleep.kill()
    fail()
    with greenserve.Timeout(1000):
        pass
    with greenserve.Timeout(0, False):
        greenserve.sleep(1000)
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(1000)
        reading = greenserve.spawn(left.recv, 100)
        greenserve.sleep(0)
        right.send(b"message")
        reading.wait()


def fail() -> None:
    """A green thread that raises, and another that waits for it."""
    failing = greenserve.spawn(int, "not a number")
    failing.quiet = True
    try:
        failing.wait()
    except ValueError:
        pass
    finally:
        del failing  # the error's traceback refers to this frame


def sample(cycles: int, started: float) -> Sample:
    """What there is now."""
    resident = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGESIZE")
    counted = (None, greenserve.current_hub(), greenserve.getcurrent())
    references = sum(sys.getrefcount(one) for one in counted if sys.getrefcount(one) < 1 << 30)  # None may be immortal
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return Sample(cycles, resident, len(gc.get_objects()), references, descriptors, time.monotonic() - started)


def grown(samples: list[Sample]) -> list[str]:
    """What has grown in the second half."""
    middle, last = samples[len(samples) // 2], samples[-1]
    limits = {"resident": RESIDENT_SLACK, "objects": OBJECT_SLACK, "references": OBJECT_SLACK, "descriptors": 0}
    return [name for name, slack in limits.items() if getattr(last, name) - getattr(middle, name) > slack]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--cycles", type=int, default=1_000_000)
    options = parser.parse_args()
    started = time.monotonic()
    gc.disable()
    print("| cycles | resident bytes | objects | references | descriptors | seconds |")
    print("|--:|--:|--:|--:|--:|--:|")
    samples: list[Sample] = []
    step = max(1, options.cycles // SAMPLES)
    for number in range(1, options.cycles + 1):
        cycle()
        if number % step == 0:
            samples.append(sample(number, started))
            *counts, seconds = astuple(samples[-1])
            print("| " + " | ".join(f"{count:,}" for count in counts) + f" | {seconds:.0f} |", flush=True)
    growing = grown(samples)
    print("\nflat" if not growing else f"\ngrowing: {', '.join(growing)}")
    return 1 if growing else 0


if __name__ == "__main__":
    sys.exit(main())
