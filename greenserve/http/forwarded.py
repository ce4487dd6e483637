"""What proxies say of the client: `Forwarded` (RFC 7239), and X-Forwarded-For, -Proto, -Host, -Port and -Prefix.

Strategy. Each proxy adds what it sees at the right end of a list, so the last member was written by the proxy that the
server itself sees. If the address there is a trusted proxy's too, the member before it counts, and so on, up to the
first address that is not: the client's. What stands to the left of that was written by the client, and is not read.
A proxy may also replace a field instead of adding to it, so a list with fewer members counts with its first.

Law. No I/O, and no state but a cache of IPv6 addresses. What a trusted proxy says must be well formed, or it is refused
(400): to serve the request without it would be to take the proxy for the client, or https for http. So it is where
Forwarded and an X-Forwarded field contradict each other: the proxy has not written both, and nothing tells which.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from greenserve.errors import BadRequest, HeaderFieldsTooLarge

from .fields import check_host
from .plain_head import key_of

FORWARDED: Final = "forwarded"
FOR: Final = "x-forwarded-for"
PROTO: Final = "x-forwarded-proto"
HOST: Final = "x-forwarded-host"
PORT: Final = "x-forwarded-port"
PREFIX: Final = "x-forwarded-prefix"
NAMES: Final = (FORWARDED, FOR, PROTO, HOST, PORT, PREFIX)

MAX_MEMBERS: Final = 1024  # of a list, that are read: a chain of proxies has five. A thousand take two milliseconds
UNKNOWN: Final = ""  # the address of a client whose proxy conceals it

# node = nodename [ ":" node-port ]; nodename = IPv4address / "[" IPv6address "]" / "unknown" / obfnode
# node-port = port / obfport; port = 1*5DIGIT; obfnode, obfport = "_" 1*( ALPHA / DIGIT / "." / "_" / "-" )  RFC 7239 §6
# X-Forwarded-For also has IPv6 addresses without brackets, and then no port. A zone (RFC 4007 §11) has a meaning on the
# proxy alone, and is dropped. Groups: IPv4 address, IPv6 address, port, IPv6 address without brackets.
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_OBFUSCATED: Final = "_[A-Za-z0-9._-]+"
_ZONE: Final = "(?:%[A-Za-z0-9._~-]{1,32})?"
_IPV4: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_NODE: Final = re.compile(
    rf"(?:({_IPV4.pattern})|\[([0-9A-Fa-f:.]+){_ZONE}\]|(?i:unknown)|{_OBFUSCATED})"
    rf"(?::(?:([0-9]{{1,5}})|{_OBFUSCATED}))?|([0-9A-Fa-f]*:[0-9A-Fa-f:.]+){_ZONE}"
)
_NODE_LENGTH: Final = 128  # characters: an IPv6 address has at most 45; concealed names are the proxy's choice
# forwarded-pair = token "=" ( token / quoted-string )                                         RFC 7239 §4
# Colons and brackets should be quoted, and often are not. Groups: name, quoted value, value.
_PAIR: Final = re.compile(
    r"([!#$%&'*+\-.^_`|~0-9A-Za-z]++)="
    r'(?:"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+)"|([!#$%&\'*+\-.^_`|~0-9A-Za-z:\[\]]++))'
)
_SEPARATOR: Final = re.compile(r"[ \t]*+(?:([;,])[ \t]*+|\Z)")  # there should be no space around ";", but there is
_ESCAPED: Final = re.compile(r"\\(.)")
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# Path segments, percent-encoded and decoded. "//host", and for browsers "/\host", would be a host in links.
_PREFIX: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+;=:@/%]++")
_PREFIX_DECODED: Final = re.compile(r"(?:/[^/\\?#\x00-\x1f\x7f]++)*+/?")

IsProxy = Callable[[str], bool]
Client = tuple[str, str]  # address in its canonical form, UNKNOWN if it is concealed; port, "" if it is not known


class Site(NamedTuple):
    """What the client sees of the server; None where the proxies say nothing.

    scheme: "http" or "https". host: valid as the value of Host. port: that the client connected to. prefix: of the
    path, which the proxies have taken away; decoded as SCRIPT_NAME is, without a slash at its end.
    """

    scheme: str | None = None
    host: str | None = None
    port: str | None = None
    prefix: str = ""


class ForwardedReader:
    """Reads what trusted proxies say.

    names: the fields by which they say it, some of NAMES. is_proxy: whether an address is a trusted proxy's.
    unwanted: the keys of the others.
    """

    __slots__ = ("_is_proxy", "_wanted", "unwanted")

    def __init__(self, names: Collection[str], is_proxy: IsProxy) -> None:
        self.unwanted = tuple(key_of(name) for name in NAMES if name not in names)
        self._wanted = tuple(key_of(name) if name in names else "" for name in NAMES)  # no field has the key ""
        self._is_proxy = is_proxy

    def read(self, cgi: Mapping[str, str]) -> tuple[Client | None, Site]:
        """Read what a trusted proxy says, in the keys of an environ. Raises BadRequest, HeaderFieldsTooLarge.

        The client is None when it is not said. All is in one go, since the clients of a site differ in each head.
        """
        forwarded, for_, proto, host, port, prefix = map(cgi.get, self._wanted)
        hops, client = self._walk(FOR, _members(for_ or ""))
        site = _site(proto or "", host or "", port or "", prefix or "", hops)
        if not forwarded:
            return client, site
        elements = _elements(forwarded)
        hops, other = self._walk(FORWARDED, (element.get("for") for element in reversed(elements)))
        scheme = _scheme(FORWARDED, _first("proto", elements[-hops:]))
        name = _host(FORWARDED, _first("host", elements[-hops:]))
        if client is None or other is None:
            client = client or other
        else:
            client = _agreed(FOR, client[0], other[0]) or UNKNOWN, client[1] or other[1]
        scheme, name = _agreed(PROTO, site.scheme, scheme), _agreed(HOST, site.host, name)
        return client, Site(scheme, name, site.port, site.prefix)

    def _walk(self, field: str, nodes: Iterable[str | None]) -> tuple[int, Client | None]:
        """How many members of a list count, at least 1; and the client. nodes: the last first."""
        hops, client = 0, None
        for node in nodes:
            if node is None:  # the proxy says nothing of its client
                break
            client = _node(node)
            if client is None:
                raise _malformed(field, node, "the address of a client")
            hops += 1
            if client[0] == UNKNOWN or not self._is_proxy(client[0]):
                break
        return hops or 1, client


def _node(text: str) -> Client | None:
    """Address and port. None: malformed."""
    if _IPV4.fullmatch(text):  # nearly all are, and to look it up where it was kept would be no gain
        return text, ""
    match = _NODE.fullmatch(text) if len(text) <= _NODE_LENGTH else None
    if match is None:
        return None
    ipv4, ipv6, port, bare = match.groups()
    if port is not None and int(port) > 65535:
        return None
    address = ipv4 or UNKNOWN
    if ipv6 or bare:
        address = _ipv6(ipv6 or bare)
        if not address:
            return None
    return address, port or ""


@lru_cache(maxsize=1024)  # to read one costs as much as a tenth of a request
def _ipv6(text: str) -> str:
    """The canonical form, which is an IPv4 address's for one that is mapped (RFC 4291 §2.5.5.2). "": malformed."""
    try:
        ip = ipaddress.IPv6Address(text)
    except ValueError:
        return ""
    return str(ip.ipv4_mapped or ip)


@lru_cache(maxsize=64)  # few values, the site's; a long one weighs as much as a head
def _site(proto: str, host: str, port: str, prefix: str, hops: int) -> Site:
    """What the X-Forwarded fields say, of which `hops` members count."""
    scheme, name = _scheme(PROTO, _at(proto, hops)), _host(HOST, _at(host, hops))
    return Site(scheme, name, _port(_at(port, hops)), _prefix(prefix, hops))


def _members(value: str) -> Iterable[str]:
    """The members of a list, the last first, without empty ones (RFC 9110 §5.6.1)."""
    if "," not in value:
        return (value,) if value else ()
    return _members_from_right(value)


def _members_from_right(value: str) -> Iterator[str]:
    end = len(value)
    for _ in range(MAX_MEMBERS):
        start = value.rfind(",", 0, end) + 1
        if member := value[start:end].strip(" \t"):
            yield member
        if not start:
            return
        end = start - 1
    raise _too_many(value)


def _at(value: str, hops: int) -> str | None:
    """The member that was written by the proxy next to the client: hops from the right, or the first."""
    member = None
    for member in islice(_members(value), hops):  # noqa: B007 - the last one
        pass
    return member


def _elements(value: str) -> list[dict[str, str]]:
    """The elements of Forwarded, each with its pairs, names in lower case.

    Read from the left, by the whole grammar: a quote that a client has left open must not swallow what a proxy adds.
    """
    if value.count(",") >= MAX_MEMBERS:
        raise _too_many(value)
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(value):
        pair = _PAIR.match(value, at)
        if pair is not None:
            name, quoted, plain = pair.groups()
            name = name.lower()
            if name in elements[-1]:  # RFC 7239 §4: no parameter twice
                raise _malformed(FORWARDED, value, f"a list with each parameter once in an element ({name:.20})")
            elements[-1][name] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
            at = pair.end()
        separator = _SEPARATOR.match(value, at)
        if separator is None:
            raise _malformed(FORWARDED, value[at:], "a parameter of RFC 7239")
        if separator[1] == "," and elements[-1]:
            elements.append({})
        at = separator.end()
    return elements if elements[-1] or len(elements) == 1 else elements[:-1]


def _first(name: str, elements: list[dict[str, str]]) -> str | None:
    return next((element[name] for element in elements if name in element), None)


def _scheme(field: str, text: str | None) -> str | None:
    if text is None:
        return None
    scheme = _SCHEMES.get(text.lower())
    if scheme is None:
        raise _malformed(field, text, "http or https")
    return scheme


def _host(field: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        check_host(text)
    except BadRequest:
        raise _malformed(field, text, "a host with an optional port") from None
    return text


def _port(text: str | None) -> str | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        raise _malformed(PORT, text, "a port")
    return text


def _prefix(value: str, hops: int) -> str:
    """What all proxies on the way have taken away, the outermost first."""
    prefix = ""
    for member in islice(_members(value), hops):
        decoded = unquote_to_bytes(member).decode("latin-1")
        if not _PREFIX.fullmatch(member) or not _PREFIX_DECODED.fullmatch(decoded):
            raise _malformed(PREFIX, member, "the beginning of a path")
        prefix = decoded.rstrip("/") + prefix
    return prefix


def _agreed(field: str, there: str | None, here: str | None) -> str | None:
    """What `field` and Forwarded say, if they do not contradict each other."""
    if there is None or here is None:
        return here if there is None else there
    if there.lower() != here.lower():
        raise BadRequest(
            f"the fields {field} and {FORWARDED} contradict each other ({there[:100]!r}, {here[:100]!r}); "
            "the proxy has to remove the one that it does not set"
        )
    return there


def _malformed(field: str, text: str, expected: str) -> BadRequest:
    return BadRequest(f"the field {field} of a trusted proxy: {text[:100]!r} is not {expected}")


def _too_many(value: str) -> HeaderFieldsTooLarge:
    return HeaderFieldsTooLarge(f"a field lists more than {MAX_MEMBERS} members: {value[:100]!r}")
