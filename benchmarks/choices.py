"""What both comparisons share: choosing from a list, and whose turn it is. No I/O in this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def chosen(names: str | None, known: Mapping[str, T]) -> list[T]:
    """The objects of a comma-separated list, all when there is none. Raises ValueError that names the known ones."""
    if names is None:
        return list(known.values())
    wanted = [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"no such thing: {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[name] for name in wanted]


def rotated(items: Sequence[T], by: int) -> list[T]:
    """Each round begins with another server, so that none always runs after the same one."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]
