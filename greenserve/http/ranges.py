"""Range: which parts of a representation a client asks for (RFC 9110 §14). Pure."""

from __future__ import annotations

import re

# Documents' readers ask for some dozen at once. More, or many small ones that overlap, are an attack (RFC 9110 §14.2).
MAX_RANGES = 64
# octets: parts with a smaller gap are sent as one, since the head of a part of its own would be longer.
GAP = 80

# ranges-specifier = range-unit "=" range-set                                                  RFC 9110 §14.1.1
# range-spec = int-range / suffix-range; int-range = first-pos "-" [ last-pos ]; suffix-range = "-" suffix-length
# A number of more than 19 digits lies beyond every file.
_NUMBER = r"[0-9]{1,19}+"
_RANGE = re.compile(rf"[ \t]*+(?:({_NUMBER})-({_NUMBER})?|-({_NUMBER}))[ \t]*+")


def parse_range(value: str, size: int) -> list[tuple[int, int]] | None:
    """The parts of `size` octets that the field asks for, each as (start, end), end not included, in their order.

    Parts that overlap or nearly touch are one, so that no octet is asked for twice. An empty list: none of them is
    there (416). None: the field is to be ignored, because its unit is unknown, its syntax is wrong, or it asks for more
    than MAX_RANGES parts.
    """
    unit, _, listed = value.partition("=")
    if unit.strip(" \t").lower() != "bytes" or listed.count(",") >= MAX_RANGES:
        return None
    parts: list[tuple[int, int]] = []
    members = [member for member in listed.split(",") if member.strip(" \t")]
    for member in members:
        match = _RANGE.fullmatch(member)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            start, end = max(0, size - int(suffix)), size
        else:
            start, end = int(first), size if last is None else min(size, int(last) + 1)
            if last is not None and int(last) < start:
                return None  # RFC 9110 §14.1.1: invalid, and so is the set
        if start < end:
            _add(parts, start, end)
    return parts if members else None


def _add(parts: list[tuple[int, int]], start: int, end: int) -> None:
    """Put a part behind the others, or in the place of the first one with which it is one."""
    near = [part for part in parts if start <= part[1] + GAP and part[0] <= end + GAP]
    if not near:
        parts.append((start, end))
        return
    at = parts.index(near[0])
    for part in near:
        parts.remove(part)
    parts.insert(at, (min(start, *(part[0] for part in near)), max(end, *(part[1] for part in near))))
