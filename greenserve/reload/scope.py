"""Which files are watched, and what they look like at a moment.

No I/O: the file system is only read. A file has changed when its inode, size or time of modification has:
editors write in place, or put another file in its place.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

Stamp = tuple[int, int, int]  # inode, bytes, nanoseconds

# Code, and templates: frameworks keep these compiled unless they are told that they are being developed.
PATTERNS = ("*.py", "*.html", "*.htm", "*.jinja", "*.jinja2", "*.j2", "*.mako", "*.mo")
# Hidden directories (.git, .venv, .tox) are never entered, and these neither; nor is a virtual environment of any name.
LEFT_OUT = frozenset(("__pycache__", "node_modules", "site-packages", "htmlcov", "__pypackages__"))
MOST_DIRECTORIES = 5000  # a look at them takes about 0.1 s


@dataclass
class Snapshot:
    """Files with their stamps, and all directories in which one may appear. cut: there were too many directories."""

    files: dict[str, Stamp] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    cut: bool = False


@dataclass
class Scope:
    """What is watched.

    directories: in which files match by their names, with those below; of a home directory, and of what it is in, not
    those below. files: each by its path. include, exclude: globs, for a name or, where they have a slash, for the path
    below the directory. settings: which of the files are the server's own.
    """

    directories: Sequence[str] = ()
    files: Sequence[str] = ()
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    settings: Sequence[str] = ()

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Scope:
        """Of what came through a channel."""
        return cls(**{name: message[name] for name in cls.__dataclass_fields__ if name in message})

    def matches(self, path: str, root: str | None = None) -> bool:
        """Whether a file of this path, if there were one, would be watched. root: the one of `directories` that it is
        in, if that is known.
        """
        if path in self.files or path in self.settings:
            return True
        roots = (
            [each for each in self.directories if path.startswith(each.rstrip("/") + "/")] if root is None else [root]
        )
        name = path.rpartition("/")[2]
        return any(
            (self._fits(self.include, name, path, each) or (name[:1] != "." and self._fits(PATTERNS, name, path, each)))
            and not self._fits(self.exclude, name, path, each)
            for each in roots
        )

    def enters(self, path: str, root: str) -> bool:
        """Whether files of this directory, which is below `root`, are watched, too."""
        name = path.rpartition("/")[2]
        return not (name[:1] == "." or name in LEFT_OUT or self._fits(self.exclude, name, path, root))

    def look(self) -> Snapshot:
        """What is there now."""
        found = Snapshot()
        seen: set[tuple[int, int]] = set()
        for root in self.directories:
            for path, entries in self._walk(root, seen, found):
                found.directories.add(path)
                found.files.update((each.path, stamp) for each in entries if (stamp := _stamp(each)) is not None)
        for file in (*self.files, *self.settings):
            stamp = _stamp(Path(file))
            if stamp is not None:
                found.files[file] = stamp
            found.directories.add(os.path.dirname(file))  # noqa: PTH120 - Path would normalise it
        return found

    def _walk(
        self, root: str, seen: set[tuple[int, int]], found: Snapshot
    ) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
        """Each directory, once, with the files in it that match; those near the root first."""
        to_do = deque([root])
        while to_do:
            path = to_do.popleft()
            try:
                status = os.stat(path)  # noqa: PTH116 - thousands
                entries = list(os.scandir(path))
            except OSError:
                continue
            if (status.st_dev, status.st_ino) in seen or (
                path != root and any(each.name == "pyvenv.cfg" for each in entries)
            ):
                continue
            if len(seen) >= MOST_DIRECTORIES:
                found.cut = True
                return
            seen.add((status.st_dev, status.st_ino))
            inner = [each for each in entries if _is_directory(each)]
            yield path, [each for each in entries if each not in inner and self.matches(each.path, root)]
            if not _is_home_or_above(root):
                to_do += sorted(each.path for each in inner if self.enters(each.path, root))

    @staticmethod
    def _fits(patterns: Iterable[str], name: str, path: str, root: str) -> bool:
        below = path[len(root) :].lstrip("/")
        return any(fnmatchcase(below if "/" in each else name, each) for each in patterns)


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """The paths of files that have come, gone, or changed."""
    return sorted({path for path, _ in before.files.items() ^ after.files.items()})


def _stamp(file: os.DirEntry[str] | Path) -> Stamp | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_home_or_above(directory: str) -> bool:
    try:
        return Path.home().resolve().is_relative_to(Path(directory).resolve())
    except (OSError, RuntimeError):  # there is no home directory
        return directory == "/"
