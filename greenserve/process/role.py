"""Which of several processes of a server this one is: its log lines say so, and so does its title in `ps`.

The title needs setproctitle (the extra `titles`). The supervisor, and a process that is alone, have none: their command
line says what they are, and other programs, `greenserve health` among them, read there how they were started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module

TITLE = "greenserve: "  # what titles begin with
label = ""  # what log lines begin with; "": the process is alone


class Role:
    """name: such as `worker 2`. application: as the command line names it."""

    def __init__(self, name: str, application: str) -> None:
        self._name = name
        self._title = f"{TITLE}{name} {application}"

    def assume(self, state: str = "") -> None:
        """Be that, from now on."""
        global label  # noqa: PLW0603 - a process has one role
        label = f"{self._name} (pid {os.getpid()})"
        self.show(state)

    def show(self, state: str = "") -> None:
        """In the title, with a state such as `draining`; without setproctitle nowhere."""
        if (set_title := _titles()) is not None:
            set_title(f"{self._title} ({state})" if state else self._title)


@cache  # so workers do not look for it again: a search in vain writes to a quarter of a megabyte that they share
def _titles() -> Callable[[str], object] | None:
    """What sets the title, or None."""
    if sys.platform == "darwin":  # there it calls what must not be called in a forked child
        return None
    try:
        found: Callable[[str], object] = import_module("setproctitle").setproctitle
    except ImportError:
        return None
    return found
