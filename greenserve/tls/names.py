"""Which certificates a client is shown, by the name that it asks for (SNI, RFC 6066 §3). Pure.

A name is looked for as it is, then under a wildcard, which stands for exactly one whole label on the left (RFC 9525
§6.3); a client that asks for none, or for an unknown one, is shown the default. Several certificates for a name are all
loaded, so that OpenSSL chooses by the kinds of key that the client takes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
Group: TypeAlias = tuple[T, ...]


class NameTable(Generic[T]):
    """From a name to the group of what was given for it. The first entry is the default, with all others of its
    first name; an empty group where there is no entry.
    """

    def __init__(self, entries: Sequence[tuple[T, Iterable[str]]]) -> None:
        names: dict[str, list[T]] = {}
        for entry, its_names in entries:
            for name in dict.fromkeys(map(normal, its_names)):
                names.setdefault(name, []).append(entry)
        self._groups = {name: tuple(group) for name, group in names.items()}
        first = tuple(entry for entry, _ in entries[:1])
        first_names = [normal(name) for _, its_names in entries[:1] for name in its_names]
        self.default: Group[T] = self._groups[first_names[0]] if first_names else first

    @property
    def groups(self) -> set[Group[T]]:
        """All that `find` may return."""
        return {self.default, *self._groups.values()}

    def find(self, name: str) -> Group[T]:
        """The group for a name that a client asks for."""
        name = normal(name)
        found = self._groups.get(name)
        if found is None:
            _, _, parent = name.partition(".")
            found = self._groups.get(f"*.{parent}")
        return self.default if found is None else found


def normal(name: str) -> str:
    """A name as it is compared: DNS has no case, and a dot at the end means the same; addresses have many forms."""
    name = name.lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name
