"""Where static files are: a prefix of the URL's path, and the directory whose files are found below it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from greenserve.errors import ConfigurationError

MOUNT_FORMS = "/PREFIX=DIR such as /static=public, or /=DIR for all paths (in TOML and Python also a table or dict)"

# In a list in one text, a comma that is followed by the next prefix parts two mounts.
_COMMA = re.compile(r",(?=\s*/[^=,]*=)")


@dataclass(frozen=True, slots=True)
class Mount:
    """prefix: of the decoded path, without a slash at its end; "" for all paths. directory: as given."""

    prefix: str
    directory: str

    def __str__(self) -> str:
        return f"{quote(self.prefix) or '/'}={self.directory}"


def parse_mounts(value: object) -> tuple[Mount, ...]:
    """The mounts of an option's value: text, a mapping, or a list of texts and Mounts; `none` and None for none at all.
    Raises ConfigurationError.
    """
    if value in (None, "none", ["none"], ("none",), ()):
        return ()
    if isinstance(value, Mapping):
        mounts = [_mount(prefix, directory) for prefix, directory in value.items()]
    else:
        items = value if isinstance(value, (list, tuple)) else [value]
        mounts = [mount for item in items for mount in _mounts_of(item)]
    if not mounts:
        raise ConfigurationError("it names no directory")
    seen: dict[str, Mount] = {}
    for mount in mounts:
        other = seen.setdefault(mount.prefix, mount)
        if other is not mount:
            raise ConfigurationError(
                f"{mount.prefix or '/'} has two directories, {other.directory} and {mount.directory}; give one of them "
                "another prefix"
            )
    return tuple(mounts)


def _mounts_of(item: object) -> list[Mount]:
    if isinstance(item, Mount):
        return [item]
    if not isinstance(item, str):
        raise ConfigurationError(f"it is of type {type(item).__name__}")
    mounts = []
    for text in _COMMA.split(item):
        prefix, equals, directory = text.strip().partition("=")
        if not equals:
            raise ConfigurationError(
                f"{prefix!r} has no `=` between prefix and directory; write, for example, /static=public"
            )
        mounts.append(_mount(prefix, directory))
    return mounts


def _mount(prefix: object, directory: object) -> Mount:
    directory = os.fspath(directory) if isinstance(directory, os.PathLike) else directory
    if not isinstance(prefix, str) or not isinstance(directory, str):
        raise ConfigurationError("prefix and directory must be text")
    if not prefix.startswith("/"):
        raise ConfigurationError(f"the prefix {prefix!r} does not begin with a slash; write /{prefix}={directory}")
    directory = directory.strip()
    if not directory or "\0" in directory or _COMMA.search(directory):
        raise ConfigurationError(f"the directory of {prefix} is missing or not a path; write {prefix}=DIR")
    decoded = unquote(prefix).rstrip("/")
    if "?" in prefix or "#" in prefix or {"", ".", ".."} & set(decoded.split("/")[1:]):
        raise ConfigurationError(f"the prefix {prefix!r} is not a path of names between single slashes")
    return Mount(decoded, directory)
