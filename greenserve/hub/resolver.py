"""Names and addresses: the system's resolver, in OS threads, so that a slow lookup blocks only the caller.

Strategy: libc answers, so /etc/hosts, nsswitch, search domains, and IPv6 scopes mean what they mean everywhere else;
a resolver of our own would be quicker and would surprise. A numeric address needs no libc lookup and is answered at
once. Equal questions that are asked at the same time are one lookup, and its answer serves for a few seconds.
"""

from __future__ import annotations

import errno as _errno
import socket as _original
from collections.abc import Callable
from time import monotonic as _monotonic
from typing import Any

from greenserve.hub.threadpool import Call, ThreadPool

# Captured, since monkey-patching puts this module's functions in their place.
_getaddrinfo = _original.getaddrinfo
_gethostbyname = _original.gethostbyname
_gethostbyname_ex = _original.gethostbyname_ex
_gethostbyaddr = _original.gethostbyaddr
_getnameinfo = _original.getnameinfo

MAX_THREADS = 32  # threads exist only while lookups are slow; a dead name server holds each for up to 30 s
CACHE_SECONDS = 5.0  # libc tells no time to live; in so short a span a changed record would not have reached us anyway
CACHE_ENTRIES = 1024  # names, not requests: more would be a crawler's, which seldom asks twice

# Not the default thread pool: dead name servers must not keep files and drivers from their threads, nor these from
# them.
_pool = ThreadPool(MAX_THREADS, "greenserve-dns")


class Lookups:
    """Lookups under way, and recent answers. Errors are not kept: the next one to ask tries again."""

    def __init__(self, pool: ThreadPool, clock: Callable[[], float] = _monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._calls: dict[tuple[Any, ...], tuple[float, Call[Any]]] = {}

    def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """`function(*args)`, from a recent answer, a lookup under way, or a new one."""
        key = (function, *args)
        now = self._clock()
        known = self._calls.get(key)
        if known is not None and (known[1].under_way or (known[0] > now and not known[1].lost)):
            call = known[1]
        else:
            call = self._pool.submit(function, *args)
            if len(self._calls) >= CACHE_ENTRIES:
                self._evict(now)
            self._calls[key] = (now + CACHE_SECONDS, call)
        try:
            return call.wait()
        except OSError as error:
            if self._calls.get(key, (0, None))[1] is call:
                self._calls.pop(key, None)
            raise type(error)(*error.args) from None  # one for each caller: several may raise it at the same time

    def _evict(self, now: float) -> None:
        """Forget what is stale; when nothing is, everything: that is simpler than an order of use, and as rare."""
        calls = list(self._calls.items())
        living = {key: entry for key, entry in calls if entry[0] > now}
        self._calls = living if len(living) < CACHE_ENTRIES // 2 else {}


_lookups = Lookups(_pool)


def getaddrinfo(
    host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[tuple[Any, ...]]:
    """As `socket.getaddrinfo`; only the calling green thread waits."""
    if flags & _original.AI_NUMERICHOST or host is None:
        return _getaddrinfo(host, port, family, type, proto, flags)
    try:
        return _getaddrinfo(host, port, family, type, proto, flags | _original.AI_NUMERICHOST)
    except _original.gaierror:
        pass  # a name, then; or wrong in another way, which the full lookup says better
    return list(_lookups.ask(_getaddrinfo, host, port, family, type, proto, flags))


def gethostbyname(host: str) -> str:
    """As `socket.gethostbyname`; only the calling green thread waits."""
    if _is_ipv4(host):
        return _gethostbyname(host)
    answer: str = _lookups.ask(_gethostbyname, host)
    return answer


def gethostbyname_ex(host: str) -> tuple[str, list[str], list[str]]:
    """As `socket.gethostbyname_ex`; only the calling green thread waits."""
    if _is_ipv4(host):
        return _gethostbyname_ex(host)
    name, aliases, addresses = _lookups.ask(_gethostbyname_ex, host)
    return name, list(aliases), list(addresses)


def gethostbyaddr(host: str) -> tuple[str, list[str], list[str]]:
    """As `socket.gethostbyaddr`; only the calling green thread waits."""
    name, aliases, addresses = _lookups.ask(_gethostbyaddr, host)
    return name, list(aliases), list(addresses)


def getnameinfo(sockaddr: Any, flags: int) -> tuple[str, str]:
    """As `socket.getnameinfo`; only the calling green thread waits."""
    numeric = _original.NI_NUMERICHOST | _original.NI_NUMERICSERV
    if flags & numeric == numeric:
        return _getnameinfo(sockaddr, flags)
    answer: tuple[str, str] = _lookups.ask(_getnameinfo, sockaddr, flags)
    return answer


def resolved(family: int, kind: int, address: Any) -> Any:
    """The address with its host name, if it has one, replaced by a number, so that the system call need not look it
    up.
    """
    if family not in (_original.AF_INET, _original.AF_INET6) or not isinstance(address, tuple) or not address:
        return address
    host = address[0]
    if not isinstance(host, str) or is_numeric(family, host):
        return address
    answers = getaddrinfo(host, 0, family, kind)
    if not answers:
        raise OSError(_errno.EADDRNOTAVAIL, f"no address is known for {host!r}")
    return (answers[0][4][0], *address[1:])


def is_numeric(family: int, host: str) -> bool:
    """Whether libc needs no lookup for `host` in this family (the wildcards included)."""
    if family == _original.AF_INET6:
        return ":" in host or host == ""
    return host in ("", "<broadcast>") or _is_ipv4(host)


def _is_ipv4(host: object) -> bool:
    # inet_aton's short forms (127.1) count: libc reads them as numbers too.
    if not isinstance(host, str) or not host:
        return False
    try:
        _original.inet_aton(host)
    except (OSError, UnicodeError):
        return False
    return True
