"""Text without the secrets in it: what is shown gets into reports, logs and error trackers."""

from __future__ import annotations

import re

HIDDEN = "***"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[\w.-]*)(:[0-9]*)?(/\S*)?")
_NO_SECRETS = frozenset({"prefix", "db", "protocol"})  # parameters of a URL; all other ones may be secrets

_NAME = r"[\w-]*(?:password|passwd|secret|token|api[-_]?key)[\w-]*"
_IN_TEXT = (
    (re.compile(r"//[^\s@]*@"), f"//{HIDDEN}@"),
    (re.compile(rf"({_NAME}=)[^\s&'\"]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"(--{_NAME}\s+)(?!-)\S+", re.IGNORECASE), rf"\1{HIDDEN}"),
)


class SecretUrl(str):
    """A URL that shows its secrets where it is used as text, but not in a `repr`, so neither in that of Settings."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(conceal_url(self))


def conceal_url(url: str) -> str:
    """A URL without password and parameters: `redis://ada:***@host:6379/0?prefix=shop&ssl_password=***`.

    Where it is not certain what the password is, more is hidden: one may have been written without its %-escapes.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return HIDDEN
    address, _, query = rest.partition("?")
    credentials, at, place = address.rpartition("@")
    if "@" in query or "#" in rest or not _PLACE.fullmatch(place):
        return f"{scheme}://{HIDDEN}"
    user, colon, _ = credentials.partition(":")
    shown = (f"{user}:{HIDDEN}@" if colon else f"{HIDDEN}@") if at else ""
    parameters = "&".join(map(_conceal_parameter, query.split("&")))
    return f"{scheme}://{shown}{place}" + (f"?{parameters}" if query else "")


def _conceal_parameter(parameter: str) -> str:
    name, _, _ = parameter.partition("=")
    return parameter if name in _NO_SECRETS else f"{name}={HIDDEN}"


def conceal(text: str) -> str:
    """Free text, such as a command line, without what looks like a secret in it."""
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text
