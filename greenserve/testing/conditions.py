"""The conditions of a connection of the network in memory. No hub here, only values."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What may be wrong with a connection; by default nothing is.

    latency: seconds from one end to the other. jitter: seconds, of which a random part is added to each delivery, in
    order all the same. pieces: the most bytes of one delivery; how many it is each time, from 1 on, is random.
    capacity: bytes under way and not read, above which a sender waits. cut_after: bytes, of both directions together,
    after which the connection is reset. refuse: connecting fails at once. silent: connecting never ends.

    Raises ValueError for an invalid number.

    >>> with greenserve.testing.virtual_time(), greenserve.testing.network() as network:
    ...     network.to(("server", 80), refuse=True)
    ...     greenserve.connect(("server", 80))
    Traceback (most recent call last):
    ConnectionRefusedError: [Errno 111] Connection refused
    """

    latency: float = 0.0
    jitter: float = 0.0
    pieces: int | None = None
    capacity: int = 65536
    cut_after: int | None = None
    refuse: bool = False
    silent: bool = False

    def __post_init__(self) -> None:
        for name, least in (("latency", 0), ("jitter", 0), ("pieces", 1), ("capacity", 1), ("cut_after", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name} must be at least {least}, not {value!r}")

    def delay(self, chance: random.Random) -> float:
        """Seconds that the next delivery takes."""
        return self.latency + (chance.uniform(0, self.jitter) if self.jitter else 0.0)


NAMES = frozenset(field.name for field in fields(Conditions))
