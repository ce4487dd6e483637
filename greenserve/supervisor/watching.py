"""The process that watches the application's files (`--reload`), as the supervisor sees it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from greenserve.supervisor.channel import Channel, Gone, Message, channel_pair

RESTART_SECONDS = 1.0
PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "reload", "__main__.py")


class Watching:
    """Starts the process when there is something to watch, and again when it has ended.

    directory: to which the paths in lines are relative. say: writes one. changed: to be set; is told which files have
    changed, in words, and whether they are the server's settings.
    """

    changed: Callable[[str, bool], None]

    def __init__(self, directory: str, say: Callable[[str, str], None]) -> None:
        self._directory = directory
        self._say = say
        self._scope: Message | None = None
        self._more: list[Message] = []  # what workers have loaded from elsewhere
        self._channel: Channel | None = None
        self._not_before = 0.0

    @property
    def fd(self) -> int | None:
        """The descriptor to wait for; None: there is no process."""
        return self._channel.fd if self._channel is not None else None

    def watch(self, scope: Message) -> None:
        """Have this watched; see reload/scope.py. Harmless when it is."""
        if scope != self._scope:
            self._scope, self._more = scope, []
            self._tell({"scope": scope, "since": time.time()})

    def watch_more(self, message: Message) -> None:
        """A worker has loaded code from there, too."""
        if message not in self._more:
            self._more.append(message)
            self._tell(message)

    def hear(self) -> None:
        """Take what the process says."""
        try:
            while self._channel is not None and (found := self._channel.receive()) is not None:
                message = found[0]
                if "say" in message:
                    self._say(*message["say"])
                else:
                    self.changed(self._in_words(message), bool(message["settings"]))
        except Gone:
            self._lose()

    def tick(self) -> None:
        """Once a second: start what has ended."""
        if self._scope is not None and self._channel is None and time.monotonic() >= self._not_before:
            self._start()

    def _in_words(self, message: dict[str, Any]) -> str:
        names = [os.path.relpath(path, self._directory) for path in message["changed"]]
        others = message["count"] - len(names)
        names += [f"{others} {'other' if others == 1 else 'others'}"] if others else []
        return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]

    def _start(self) -> None:
        ours, theirs = channel_pair()
        words = [sys.executable, "-P", PROGRAM, str(theirs.fd)]
        os.set_inheritable(theirs.fd, True)
        try:
            os.posix_spawn(sys.executable, words, os.environ)
        except OSError as error:
            self._say("error", f"no process can be started to watch files: {error}")
            self._not_before = time.monotonic() + RESTART_SECONDS
            ours.close()
        else:
            self._channel = ours
            for message in ({"scope": self._scope, "since": time.time()}, *self._more):
                self._tell(message)
        finally:
            theirs.close()

    def _tell(self, message: Message) -> None:
        if self._channel is None:
            self.tick()
            return
        try:
            self._channel.send(message)
        except Gone:
            self._lose()

    def _lose(self) -> None:
        self._say("warning", "the process that watches files has ended; another one starts")
        if self._channel is not None:
            self._channel.close()
        self._channel = None
        self._not_before = time.monotonic() + RESTART_SECONDS
