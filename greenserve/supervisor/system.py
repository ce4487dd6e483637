"""What the supervisor needs of the machine; process.py has the real one, and tests another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from greenserve.supervisor.channel import Channel


class System(Protocol):
    """What the supervisor needs of the machine."""

    def now(self) -> float:
        """Seconds, of the monotonic clock."""

    def start_template(self) -> tuple[int, Channel]:
        """Start a process that loads the application anew: its pid, and the way to it. Raises OSError."""

    def channel_pair(self) -> tuple[Channel, Channel]:
        """Two ends."""

    def close_listeners(self, templates: Sequence[Channel]) -> None:
        """Close them, and have these templates do the same, before it returns."""

    def kill(self, pid: int, signum: int) -> None:
        """Send a signal; harmless when the process is gone."""

    def say(self, level: str, text: str) -> None:
        """A line for the log."""

    def tell(self, **fields: object) -> None:
        """A message for the service manager; see process/systemd.py."""

    def channel_of(self, fd: int) -> Channel:
        """The end with this descriptor."""

    def watch(self, scope: dict[str, Any]) -> None:
        """Have files watched, whose changes `Supervisor.changed` is to be told; see reload/scope.py."""

    def watch_more(self, message: dict[str, Any]) -> None:
        """A worker has loaded code from there, too."""
