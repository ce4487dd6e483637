"""The plain request head: from bytes to the request metavariables in one pass.

Strategy. Nearly every head is plain: an origin-form target, HTTP/1.1 or 1.0, no field twice, no coding, no expectation,
no upgrade. `plain_head` reads such a head, and returns None for any other one, also for one that is wrong or not
complete: head.py judges that. So nothing here says what is wrong with a head, and nothing has to be complete.

Law. What is accepted here, head.py must accept too, and must make the same of it. Both twins give the same result; this
one in Python is the reference.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import Final
from urllib.parse import unquote_to_bytes

from greenserve import codec

from .grammar import METHOD, PLAIN_HOST

__all__ = ["PlainHead", "plain_head"]

# size: octets of all of it. method, target; path, query: raw. version: "1.1" or "1.0". content_length, keep_alive.
# told: whether a proxy may have said something of its client in it. cgi: the metavariables that follow from the head
# alone (RFC 3875 §4.1, PEP 3333); fields in the order received.
PlainHead = tuple[int, str, str, str, str, str, int, bool, bool, dict[str, str]]

NAME_LENGTH: Final = 64  # octets: no registered field has a longer name
_LENGTH_DIGITS: Final = 18  # 2**63 - 1 has 19
_NAME_COUNT: Final = 1024  # names are the clients' choice

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"))
_NOT_PLAIN: Final = frozenset(("expect", "transfer-encoding", "upgrade"))
_OPTIONS: Final = {"keep-alive": True, "close": False}

# What a plain head has beside CR and LF.
_PLAIN_OCTETS: Final = bytes(octet for octet in range(256) if octet not in range(32) and octet != 127) + b"\t"
_SHORT: Final = 4096  # octets: to look for the end of a head costs as much as to cut it into lines

_keys: dict[str, str] = {}  # what the environ calls a field, by its name as received
_told_keys: dict[str, str] = {}  # the same for those by which proxies speak of their clients


def is_told(name: str) -> bool:
    """Whether a proxy may speak of its client by the field `name`, in lower case."""
    return name.startswith("x-forwarded-") or name in ("forwarded", "x-real-ip")


def plain_head_in_python(
    data: bytes, at: int, max_head: int, max_target: int, max_method: int, max_header_count: int
) -> PlainHead | None:
    """Read the head that begins at `at`; None if it is not complete, not plain, or over a limit (limits.py)."""
    lines, end = _cut(data, at)
    size = end + 4 - at
    count = len(lines) - 1
    if not lines or size > max_head or count > max_header_count:
        return None
    # If there are other controls, or a CR or LF that stands alone, it is more than this.
    head = data[at:end]
    if head.translate(None, _PLAIN_OCTETS) != b"\r\n" * count:
        return None
    line = _request_line(lines[0], max_target, max_method)
    if line is None:
        return None
    method, target, path, query, protocol = line
    cgi = line_variables(method, target, path, query, protocol)
    told = False
    space = None if head.isascii() else " \t"  # without its own set of characters strip is twice as fast
    for field in islice(lines, 1, None):
        name, colon, value = field.partition(":")
        key = _keys.get(name)
        if key is None:
            key = _told_keys.get(name) or _key_of(name)
            told = told or name in _told_keys
        if key is None or not colon:
            return None
        cgi[key] = value.strip(space)
    version = protocol[5:]
    length = cgi.get("CONTENT_LENGTH", "0")
    keep_alive = _OPTIONS.get(cgi["HTTP_CONNECTION"].lower()) if "HTTP_CONNECTION" in cgi else version == "1.1"
    if (
        len(cgi) != count + 6  # a field is repeated
        or keep_alive is None
        or not (length.isdigit() and length.isascii() and len(length) <= _LENGTH_DIGITS)
        or not (_is_plain_host(cgi["HTTP_HOST"]) if "HTTP_HOST" in cgi else version == "1.0")
    ):
        return None
    return size, method, target, path, query, version, int(length), keep_alive, told, cgi


def _cut(data: bytes, at: int) -> tuple[list[str], int]:
    """The lines of the head that begins at `at`, and where the last one ends; no lines: it is not complete."""
    end = len(data) - 4
    if end - at > _SHORT or not data.endswith(b"\r\n\r\n"):
        end = data.find(b"\r\n\r\n", at)
    if end <= at:
        return [], at
    lines = data[at:end].decode("latin-1").split("\r\n")
    if "" in lines:  # several heads
        lines = lines[: lines.index("")]
        end = at + len("\r\n".join(lines))
    return lines, end


def _request_line(text: str, max_target: int, max_method: int) -> tuple[str, str, str, str, str] | None:
    """Method, target, path, query and protocol of a line without control characters but HTAB; None: it is not plain."""
    parts = text.split(" ")
    if len(parts) != 3:
        return None
    method, target, protocol = parts
    if (
        protocol not in ("HTTP/1.1", "HTTP/1.0")
        or not target.startswith("/")
        or not target.isascii()
        or "#" in target
        or "\t" in target
        or len(target) > max_target
        or len(method) > max_method
        or (method not in _METHODS and (METHOD.fullmatch(method) is None or method == "CONNECT"))
    ):
        return None
    path, _, query = target.partition("?")
    return method, target, path, query, protocol


@lru_cache(maxsize=256)
def _is_plain_host(value: str) -> bool:
    return PLAIN_HOST.fullmatch(value) is not None


def _key_of(name: str) -> str | None:
    """The key of a field that has not been seen before, or not lately; None if it is not plain."""
    lower = name.lower()
    if METHOD.fullmatch(name) is None or len(name) > NAME_LENGTH or "_" in name or lower in _NOT_PLAIN:
        return None
    key = key_of(lower)
    keys = _told_keys if is_told(lower) else _keys
    if len(keys) >= _NAME_COUNT:
        keys.clear()
    keys[name] = key
    return key


def line_variables(method: str, target: str, path: str, query: str, protocol: str) -> dict[str, str]:
    """The metavariables that follow from a request line."""
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path if "%" not in path else unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": target,
        "REQUEST_URI": target,
        "SERVER_PROTOCOL": protocol,
    }


@lru_cache(maxsize=256)
def key_of(name: str) -> str:
    """What the environ calls the field `name`, in lower case and without an underscore (RFC 3875 §4.1.18)."""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


@lru_cache(maxsize=256)
def field_of(key: str) -> str | None:
    """The name of the field that the environ calls `key`, in lower case; None for the key of something else."""
    if not key.startswith(("HTTP_", "CONTENT_")):
        return None
    return key.removeprefix("HTTP_").replace("_", "-").lower()


plain_head = plain_head_in_python if codec.compiled is None else codec.compiled.plain_head
