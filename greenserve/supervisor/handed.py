"""What a process of the server is handed by the one that starts it, through exec: descriptors, and what they are.

It goes through one variable of the environment, which is taken out of it at once, so that no program that an
application starts finds it.
"""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping, Sequence
from typing import Any, NamedTuple

# Not GREENSERVE_...: these name options.
TO_SUPERVISOR = "_GREENSERVE_SUPERVISOR"
TO_TEMPLATE = "_GREENSERVE_TEMPLATE"
TO_SUCCESSOR = "_GREENSERVE_SUCCESSOR"  # as for a supervisor; it is only to show that it could be one


class Handed(NamedTuple):
    """Descriptors, and more.

    channel: of the supervisor's end for it, of the template's end for a template. template: the pid of the first one.
    table, slots: of the table of workers. listeners: descriptor and address (as `bind` has it) of each. command: how
    the server was started. directory: where. paths: of Unix sockets and the pid file, each with device and inode, to be
    removed at the end. locks: descriptors that are only to be kept open, such as the pid file's. notify, watchdog: of
    the service manager, see process/systemd.py. load_timeout: of the first template, in seconds. private: a directory
    of this server alone; "": there is none. state: of the supervisor whose place is taken; none at the first start.
    """

    channel: int
    table: int
    slots: int
    listeners: list[tuple[int, str]]
    command: list[str]
    directory: str
    template: int = 0
    log_level: str = "info"
    load_timeout: float = 300.0
    paths: Sequence[tuple[str, int, int]] = ()
    locks: Sequence[int] = ()
    notify: str = ""
    watchdog: float = 0.0
    private: str = ""
    state: dict[str, Any] | None = None

    def write(self, variable: str, environ: dict[str, str]) -> None:
        """Into an environment."""
        environ[variable] = json.dumps(self._asdict())

    def descriptors(self) -> list[int]:
        """Those that exec must leave open."""
        channels = [self.channel]
        if self.state is not None:
            channels = [fd for _, _, fd, *_ in (self.state["generation"], *self.state["members"]) if fd is not None]
        return [*channels, self.table, *(fd for fd, _ in self.listeners), *self.locks]


def take(variable: str, environ: MutableMapping[str, str] = os.environ) -> Handed | None:
    """What this process was handed, or the one of the environment; None: nothing."""
    text = environ.pop(variable, None)
    if text is None:
        return None
    found = json.loads(text)
    found["listeners"] = [(fd, address) for fd, address in found["listeners"]]
    return Handed(**found)
