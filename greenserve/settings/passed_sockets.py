"""Sockets that systemd, or whatever speaks its protocol, has opened for this process: sd_listen_fds(3)."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Self

FIRST = 3  # SD_LISTEN_FDS_START: they stand in a row behind the three standard streams
LISTEN_FDS = "LISTEN_FDS"
_VARIABLES = (LISTEN_FDS, "LISTEN_PID", "LISTEN_FDNAMES")


@dataclass(frozen=True, slots=True)
class PassedSockets:
    """Their descriptors, and what the socket units call them (FileDescriptorName=); without any, both are empty."""

    fds: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Those of which the variables tell, if they are meant for this process: its children inherit them, too."""
        number = environ.get(LISTEN_FDS, "")
        is_ours = environ.get("LISTEN_PID") == str(os.getpid())
        # More than four digits are more descriptors than a process may have.
        count = int(number) if is_ours and number.isascii() and number.isdigit() and len(number) < 5 else 0
        names = environ.get("LISTEN_FDNAMES", "")
        return cls(tuple(range(FIRST, FIRST + count)), tuple(names.split(":")) if count and names else ())

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Self:
        """The same, and remove the variables: what runs later is not meant by them."""
        found = cls.read(environ)
        for name in _VARIABLES:
            environ.pop(name, None)
        return found

    @property
    def addresses(self) -> list[str]:
        """As `bind` has them."""
        return [f"fd://{fd}" for fd in self.fds]

    def __str__(self) -> str:
        """What they come from, for messages."""
        return f"{LISTEN_FDS}, {', '.join(self.names)}" if self.names else LISTEN_FDS
