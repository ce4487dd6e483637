"""Watches what it is told to, and tells the supervisor what has changed.

Strategy. What has changed is known by comparing two looks at all files, whatever has caused the second one: events of
the kernel (by watchfiles), or the clock where there are none. So an event that is lost, or a rename, or a directory
that was made a moment ago, needs no care. After a change further looks follow until nothing changes any more: an editor
that saves several files, or `git checkout`, is one change.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

from greenserve.reload.scope import Scope, Snapshot, changes
from greenserve.supervisor.channel import Channel, Gone, Message, channel_of

POLL_SECONDS = 0.25
SETTLE_SECONDS, LONGEST_SETTLING = 0.04, 2.0
STEP_MILLISECONDS, CHANNEL_MILLISECONDS = 20, 250  # how often watchfiles looks for events, and this for messages
MOST_NAMES = 3  # of a change that are told
FORCE_POLLING = "WATCHFILES_FORCE_POLLING"  # watchfiles' own: for file systems without events


class Waiter(Protocol):
    """Waits until it may be worth to look again."""

    def wait(self, watcher: Watcher) -> bool:
        """Returns whether it is; after a moment in any case."""


class Polling:
    """Waits for the clock."""

    def wait(self, watcher: Watcher) -> bool:
        """Until the next look, or a message."""
        poll = select.poll()
        poll.register(watcher.channel.fd, select.POLLIN)
        poll.poll(POLL_SECONDS * 1000)
        return True


class Notified:
    """Waits for the kernel's events, by watchfiles."""

    def __init__(self, watch: Callable[..., Any]) -> None:
        self._watch = watch
        self._directories: set[str] = set()
        self._events: Any = None

    def wait(self, watcher: Watcher) -> bool:
        """Until something happens to a file that matters. Raises OSError, RuntimeError."""
        is_new = watcher.seen.directories != self._directories
        if is_new:
            self._directories = set(watcher.seen.directories)
            self._events = self._watch(
                *sorted(filter(os.path.isdir, self._directories)),
                watch_filter=None,
                recursive=False,  # else what is left out would be watched, too
                step=STEP_MILLISECONDS,
                rust_timeout=CHANNEL_MILLISECONDS,
                yield_on_timeout=True,
                raise_interrupt=False,
            )
        happened = next(self._events)
        # After the start a look is due: what has happened since the last one made no event.
        return is_new or any(watcher.concerns(path) for _, path in happened)


def best_waiter(say: Callable[[str, str], None]) -> Waiter:
    """By events where that can be. say: takes a level and a line."""
    if os.environ.get(FORCE_POLLING, "").lower() not in ("", "0", "false", "disable", "disabled"):
        say("info", f"files are watched by looking at them each {POLL_SECONDS:g} s ({FORCE_POLLING})")
        return Polling()
    try:
        from watchfiles import watch  # noqa: PLC0415 - it may be missing
    except ImportError:
        say(
            "info",
            f"files are watched by looking at them each {POLL_SECONDS:g} s; `pip install watchfiles` lets the kernel "
            "tell of changes at once",
        )
        return Polling()
    say("info", "files are watched: the next request after a save is served by the new code (for development only)")
    return Notified(watch)


class Watcher:
    """seen: what the files looked like when they were last looked at."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.seen = Snapshot()
        self._scope = Scope()
        self._more: list[Scope] = []  # what workers have loaded from elsewhere
        self._said_cut = False

    def run(self, waiter: Waiter | None = None) -> None:
        """Until the supervisor has gone: raises Gone."""
        waiter = waiter or best_waiter(self.say)
        while True:
            self.hear()
            try:
                worth_it = waiter.wait(self)
            except FileNotFoundError:  # a directory has gone meanwhile
                worth_it = True
            except (OSError, RuntimeError, StopIteration) as error:
                self.say("warning", f"events of files cannot be had ({error}): they are looked at by the clock")
                waiter, worth_it = Polling(), True
            if worth_it:
                self.look()

    def hear(self) -> None:
        """Take what the supervisor has said. Raises Gone."""
        while (found := self.channel.receive()) is not None:
            message = found[0]
            if "scope" in message:
                self._scope, self._more, self.seen = Scope.of(message["scope"]), [], Snapshot()
                self._add(self._scope, message["since"])
            elif "more" in message:
                self._add_sources(message["more"], message["since"])

    def look(self) -> None:
        """Tell what has changed, once it has settled."""
        before, latest = self.seen, self._look()
        deadline = time.monotonic() + LONGEST_SETTLING
        while changes(before, latest) and time.monotonic() < deadline:
            time.sleep(SETTLE_SECONDS)
            previous, latest = latest, self._look()
            if not changes(previous, latest):
                break
        self.seen = latest
        self._tell(changes(before, latest))

    def concerns(self, path: str) -> bool:
        """Whether an event of this path is worth a look."""
        return (
            path in self.seen.files
            or path in self.seen.directories
            or any(scope.matches(path) for scope in self._scopes())
            or os.path.isdir(path)  # noqa: PTH112 - a text
        )

    def say(self, level: str, text: str) -> None:
        """A line for the log, which the supervisor writes."""
        self._send({"say": [level, text]})

    def _scopes(self) -> list[Scope]:
        return [self._scope, *self._more]

    def _look(self) -> Snapshot:
        found = Snapshot()
        for scope in self._scopes():
            each = scope.look()
            found.files.update(each.files)
            found.directories |= each.directories
            found.cut |= each.cut
        if found.cut and not self._said_cut:
            self._said_cut = True
            self.say(
                "warning",
                "there are too many directories to watch them all: name those of the application by --reload-dir, or "
                "leave some out by --reload-exclude",
            )
        return found

    def _add_sources(self, sources: Message, since: float) -> None:
        """Watch directories and files of loaded modules, but those that are watched already."""
        directories = [path for path in sources["directories"] if path not in self.seen.directories]
        files = [path for path in sources["files"] if path not in self.seen.files]
        if directories or files:
            scope = Scope(directories, files, self._scope.include, self._scope.exclude)
            self._more.append(scope)
            self._add(scope, since)

    def _add(self, scope: Scope, since: float) -> None:
        """since: of wall-clock time. What was saved later may have been loaded before."""
        found = scope.look()
        late = [path for path, stamp in found.files.items() if since < stamp[2] / 1e9 <= time.time()]
        self.seen.files.update(found.files)
        self.seen.directories |= found.directories
        self._tell(late)

    def _tell(self, paths: list[str]) -> None:
        if paths:
            settings = any(path in self._scope.settings for path in paths)
            self._send({"changed": paths[:MOST_NAMES], "count": len(paths), "settings": settings})

    def _send(self, message: Message) -> None:
        self.channel.send(message)


def main(fd: int) -> None:
    """What `__main__` runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the supervisor's to hear
    try:
        Watcher(channel_of(fd, blocking=False)).run()
    except Gone:
        pass
