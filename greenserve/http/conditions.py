"""Conditional requests: whether what a client has is still what there is (RFC 9110 §13). Pure."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate
from functools import lru_cache

# entity-tag = [ weak ] opaque-tag; opaque-tag = DQUOTE *etagc DQUOTE                          RFC 9110 §8.8.3
# etagc = %x21 / %x23-7E / obs-text. Groups: weak, opaque-tag.
_ENTITY_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*+")')
_ENTITY_TAGS = re.compile(rf"[ \t,]*+{_ENTITY_TAG.pattern}(?:[ \t]*+,[ \t,]*+{_ENTITY_TAG.pattern})*+[ \t,]*+")


_DATE_LENGTH = 40  # characters; the longest form, with a Wednesday, has 33


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one state of a representation from another. etag: as the field has it, with W/ when it is weak.
    modified: seconds since 1970, None when it is not known.
    """

    etag: str
    modified: int | None

    @property
    def strong(self) -> bool:
        """Whether the same validators mean the same octets, so that parts may be put together."""
        return not self.etag.startswith("W/")


def failed_condition(environ: Mapping[str, str], is_safe: bool, has: Validators) -> int:
    """The status of a request whose conditions forbid it: 304 or 412; 0 when they do not (RFC 9110 §13.2.2).

    environ: the fields by their CGI names (HTTP_IF_MATCH). is_safe: the method is GET or HEAD.
    """
    if_match = environ.get("HTTP_IF_MATCH")
    if if_match is not None:
        if not _has_match(if_match, has.etag, strongly=True):
            return 412
    else:
        since = parse_date(environ.get("HTTP_IF_UNMODIFIED_SINCE", ""))
        if since is not None and has.modified is not None and has.modified > since:
            return 412
    if_none_match = environ.get("HTTP_IF_NONE_MATCH")
    if if_none_match is not None:
        if _has_match(if_none_match, has.etag, strongly=False):
            return 304 if is_safe else 412
    elif is_safe:
        since = parse_date(environ.get("HTTP_IF_MODIFIED_SINCE", ""))
        if since is not None and has.modified is not None and has.modified <= since:
            return 304
    return 0


def range_holds(if_range: str | None, has: Validators) -> bool:
    """Whether Range counts: If-Range is absent, or names exactly what there is (RFC 9110 §13.1.5)."""
    if if_range is None:
        return True
    if not has.strong:  # a date, too, is strong only when the state is old enough
        return False
    return if_range == has.etag or (has.modified is not None and parse_date(if_range) == has.modified)


def _has_match(value: str, etag: str, *, strongly: bool) -> bool:
    """Whether If-Match (strongly) or If-None-Match names the tag, or any by "*". A wrong list names nothing."""
    if value.strip(" \t") == "*":
        return True
    if _ENTITY_TAGS.fullmatch(value) is None or (strongly and etag.startswith("W/")):
        return False
    opaque = etag.removeprefix("W/")
    return any(tag == opaque and not (strongly and weak) for weak, tag in _ENTITY_TAG.findall(value))


def parse_date(value: str) -> int | None:
    """An HTTP-date in one of its three forms as seconds since 1970; None for anything else (RFC 9110 §5.6.7)."""
    return _parse_date(value) if 0 < len(value) <= _DATE_LENGTH else None


@lru_cache(maxsize=256)
def _parse_date(value: str) -> int | None:
    try:
        parsed = parsedate(value)
        return None if parsed is None else timegm(parsed)
    except (ValueError, IndexError, TypeError, OverflowError):  # the parser is for mail, and trusts it
        return None


@lru_cache(maxsize=1024)
def format_date(moment: int) -> str:
    """Seconds since 1970 as an HTTP-date."""
    return formatdate(moment, usegmt=True)
