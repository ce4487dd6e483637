"""What the application has in progress right now: plain counters.

They need no lock: green threads switch only where one waits, and no line here waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic


@dataclass(slots=True)
class Activity:
    """Counters of one process since its start. started: monotonic seconds."""

    in_flight: int = 0
    peak: int = 0
    served: int = 0
    started: float = field(default_factory=monotonic)

    def enter(self) -> None:
        """A request has reached the application."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def leave(self) -> None:
        """Its response is complete, or given up."""
        self.in_flight -= 1
        self.served += 1

    @property
    def uptime(self) -> float:
        """Seconds since the application was loaded."""
        return monotonic() - self.started


class Quota:
    """A bound on how many of something may exist at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def take(self, count: int = 1) -> bool:
        """Take `count` of the quota; False, and none is taken, when that many are not left."""
        if self.taken + count > self.most:
            return False
        self.taken += count
        return True

    def free(self, count: int = 1) -> None:
        """Give back what was taken."""
        self.taken -= count


activity = Activity()
