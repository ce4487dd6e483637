"""Which users may connect to a Unix socket: its permissions, owner and group; `mode=660&user=app&group=www-data`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from greenserve.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Access:
    """The permissions: connecting needs the right to write. user, group: a name or a number.

    None: as it is by itself, by the umask and the process's own user and group.
    """

    mode: int | None = None
    user: str | None = None
    group: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `name=value`, joined by `&`. Raises ConfigurationError with the reason."""
        values: dict[str, object] = {}
        for part in text.split("&"):
            name, _, value = part.partition("=")
            parse = _PARSERS.get(name)
            if parse is None:
                raise ConfigurationError(
                    f"{name!r} is not an option of a Unix socket; known are mode, user and group, as in "
                    f"unix:/run/app.sock?mode=660&group=www-data"
                )
            if name in values:
                raise ConfigurationError(f"{name} is there twice")
            try:
                values[name] = parse(value)
            except ConfigurationError as error:
                raise ConfigurationError(f"{name}={value} is invalid: {error}") from None
        return cls(**values)  # type: ignore[arg-type]  # each has been parsed by its name

    def __str__(self) -> str:
        mode = None if self.mode is None else f"{self.mode:03o}"
        values = {"mode": mode, "user": self.user, "group": self.group}
        return "&".join(f"{name}={value}" for name, value in values.items() if value is not None)

    def over(self, other: Access) -> Access:
        """This one, with what it leaves open from `other`."""
        return Access(
            other.mode if self.mode is None else self.mode,
            other.user if self.user is None else self.user,
            other.group if self.group is None else self.group,
        )


BY_ITSELF = Access()
_LARGEST_ID = 2**32 - 2  # the next one stands for "as it is" (chown(2))


def parse_mode(text: str) -> int:
    """Permissions in octal digits. Raises ConfigurationError."""
    match = re.fullmatch(r"(?:0o)?([0-7]{1,4})", text)
    if match is None:
        raise ConfigurationError("it is not a number of octal digits")
    return check_mode(int(match[1], 8))


def check_mode(mode: int) -> int:
    """`mode`, if it is one. Raises ConfigurationError."""
    if not 0 <= mode <= 0o777:  # among them most modes whose `0o` was forgotten
        raise ConfigurationError("it is not from 0 to 777 in octal digits")
    return mode


def parse_owner(text: str) -> str:
    """The name or the number of a user or a group. Raises ConfigurationError."""
    if not re.fullmatch(r"[^\s:/?&=,]+", text) or text.startswith("-"):
        raise ConfigurationError("it is not a name")
    if text.isascii() and text.isdigit() and int(text[:11]) > _LARGEST_ID:
        raise ConfigurationError("no user or group has such a number")
    return text


_PARSERS = {"mode": parse_mode, "user": parse_owner, "group": parse_owner}
