"""The kinds of values that options have: each parses a value, shows it, and says in words what it accepts.

A value may come as text (command line, environment), as a TOML value or as a Python argument; one parser takes them all
and raises ConfigurationError with the reason alone: the caller adds the option's name, its origin and the accepted
form.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from greenserve.errors import ConfigurationError
from greenserve.settings.access import check_mode, parse_mode, parse_owner
from greenserve.settings.addresses import ADDRESS_FORMS, Address, FdAddress, TcpAddress, UnixAddress, parse_address
from greenserve.settings.log_format import FIELDS, WORDS, parse_fields, parse_format
from greenserve.settings.mounts import MOUNT_FORMS, parse_mounts
from greenserve.settings.networks import NETWORK_FORMS, NO_NETWORKS, Networks, parse_networks
from greenserve.settings.secrets import SecretUrl, conceal_url
from greenserve.settings.sticky import STICKY_FORM, parse_sticky
from greenserve.settings.syslog import SYSLOG_FORM, Syslog, is_syslog, parse_syslog


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value.

    metavar: what the help shows in its place; form: the accepted forms, in words; parse: from text or a native value
    (raises ConfigurationError); show: back to text that `parse` reads as the same value, except secrets; quote: a bad
    value, for the error.
    """

    metavar: str
    form: str
    parse: Callable[[object], Any]
    show: Callable[[Any], str] = str
    is_flag: bool = False
    is_list: bool = False
    quote: Callable[[object], str] = repr


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h)?")
_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"([0-9]{1,15})\s*([KMGT]?)(?:iB|B)?", re.IGNORECASE)
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def duration(*, zero: bool = False) -> Kind:
    """Seconds, as a float; `zero` says whether 0 is a duration that makes sense for the option."""

    def parse(value: object) -> float:
        if isinstance(value, float) or _is_int(value):
            seconds = float(value)
        else:
            match = _DURATION.fullmatch(_text(value))
            if match is None:
                raise ConfigurationError("it is not a duration")
            seconds = float(match[1]) * _SECONDS[match[2] or "s"]
        if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not zero):
            raise ConfigurationError(
                "a duration must be finite and not negative" if zero else "a duration must be more than 0"
            )
        return seconds

    least = "0 or more" if zero else "more than 0"
    form = f"seconds ({least}) such as 30 or 1.5, or with a unit: 500ms, 30s, 2m, 1h"
    return Kind("SECONDS", form, parse, _show_seconds)


def count(*, least: int = 1, most: int | None = None) -> Kind:
    """A whole number, at least `least`, at most `most`."""

    def parse(value: object) -> int:
        number = _whole(value)
        if number < least:
            raise ConfigurationError(f"it is below {least}")
        if most is not None and number > most:
            raise ConfigurationError(f"it is above {most}")
        return number

    return Kind("N", f"a whole number, at least {least}" + (f" and at most {most}" if most is not None else ""), parse)


def choice(*values: str) -> Kind:
    """One of a few words."""

    def parse(value: object) -> str:
        word = _text(value).lower()
        if word not in values:
            raise ConfigurationError("it is not one of the choices")
        return word

    return Kind("|".join(values), "one of " + ", ".join(values), parse)


def optional(kind: Kind, word: str = "none") -> Kind:
    """The same kind, or nothing at all: `word` in text, None from Python. word: what the option's help explains."""

    def parse(value: object) -> Any:
        nothing = value is None or (isinstance(value, str) and value.strip().lower() == word)
        return None if nothing else kind.parse(value)

    def show(value: Any) -> str:
        return word if value is None else kind.show(value)

    return dataclasses.replace(kind, form=f"{kind.form}, or {word}", parse=parse, show=show)


def _parse_size(value: object) -> int:
    if _is_int(value):
        size = value
    else:
        match = _SIZE.fullmatch(_text(value))
        if match is None:
            raise ConfigurationError("it is not a size")
        size = int(match[1]) * _BYTES[match[2].upper()]
    if size <= 0:
        raise ConfigurationError("a size must be more than 0")
    return size


def _parse_mode(value: object) -> int:
    return check_mode(value) if _is_int(value) else parse_mode(_text(value))


def _parse_name(value: object) -> str:
    return parse_owner(str(value) if _is_int(value) else _text(value))


def _parse_switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    try:
        return _WORDS[_text(value).lower()]
    except KeyError:
        raise ConfigurationError("it is neither true nor false") from None


def _parse_path(value: object) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else _text(value)
    if not text or "\0" in text:
        raise ConfigurationError("it is not a path")
    return str(text)


def _parse_target(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"/[!-~]*", text) or "#" in text:
        raise ConfigurationError("it does not begin with /, or has what stands in no request: write that as %XX")
    return text


def _parse_paths(value: object) -> tuple[str, ...]:
    parts = [part for each in _items(value) for part in (each.split(",") if isinstance(each, str) else [each])]
    return tuple(map(_parse_path, parts)) if parts != [""] else ()


def _parse_function(value: object) -> str:
    text = _text(value)
    module, _, function = text.partition(":")
    if not all(map(str.isidentifier, [*module.split("."), *function.split(".")])):
        raise ConfigurationError("it does not name a function of a module")
    return text


def _parse_module(value: object) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else _text(value)
    if is_file(text):
        return _parse_path(text)
    if not all(map(str.isidentifier, text.split("."))):
        raise ConfigurationError("it names neither a module nor a file of Python")
    return text


def is_file(module: str) -> bool:
    """Whether a value of the kind MODULE is a path."""
    return module.endswith(".py") or os.sep in module


def _parse_pattern(value: object) -> str:
    text = _text(value)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigurationError(f"it is not a regular expression of Python's: {error}") from None
    return text


def _parse_addresses(value: object) -> tuple[Address, ...]:
    parts = [part for each in _items(value) for part in (each.split(",") if isinstance(each, str) else [each])]
    addresses = tuple(map(_parse_one_address, parts))
    if not addresses:
        raise ConfigurationError("it contains no address")
    # Port 0 twice is two listeners on two ports; anything else twice could only fail at the second bind.
    fixed = [address for address in addresses if not (isinstance(address, TcpAddress) and address.port == 0)]
    places = [address.place for address in fixed]
    for place in places:
        if places.count(place) > 1:
            raise ConfigurationError(f"it contains {place} twice")
    return addresses


def _parse_port(value: object) -> int:
    port = _whole(value)
    if not 1 <= port <= 65535:
        raise ConfigurationError("it is not a port")
    return port


def _parse_ciphers(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9:!+@=_-]+", text):
        raise ConfigurationError("it is not a list of cipher suites")
    return text


def _parse_one_address(value: object) -> Address:
    if isinstance(value, (TcpAddress, UnixAddress, FdAddress)):
        return value
    return parse_address(str(value) if _is_int(value) else _text(value))


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"it is of type {type(value).__name__}")
    return value.strip()


def _whole(value: object) -> int:
    if _is_int(value):
        return value
    text = _text(value)
    if not re.fullmatch(r"-?[0-9]{1,15}", text):
        raise ConfigurationError("it is not a whole number")
    return int(text)


def _show_seconds(seconds: float) -> str:
    return format(seconds, ".9f").rstrip("0").rstrip(".")  # never 1e-05: `parse` takes no exponents


def _show_size(size: int) -> str:
    for unit in ("T", "G", "M", "K"):
        if size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@]+")


def _parse_origins(value: object) -> tuple[str, ...]:
    origins = tuple(word for each in _items(value) for word in _text(each).replace(",", " ").split())
    for origin in origins:
        if origin not in ("*", "same-origin", "null") and not _ORIGIN.fullmatch(origin):
            raise ConfigurationError(f"{origin!r} is not an origin")
    if not origins:
        raise ConfigurationError("it contains no origin")
    return origins


def _parse_networks(value: object) -> Networks:
    if isinstance(value, Networks):
        return value
    if value is None:
        return NO_NETWORKS
    return parse_networks([word for each in _items(value) for word in _text(each).replace(",", " ").split()])


AUTO = "auto"  # of rooms: shared by the workers of one server


def _parse_rooms(value: object) -> str:
    text = _text(value)
    if text.lower() == AUTO:
        return AUTO
    if text.startswith("unix:"):
        if text.startswith("unix://") and "@" in text:
            raise ConfigurationError("unix: takes a path, and neither user nor password")
        if "?" in text:
            raise ConfigurationError("unix: takes a path alone; only processes of the same user may connect there")
        return str(parse_address(text))
    try:
        parts = urlsplit(text)
        _ = parts.port  # parsed here
    except ValueError:
        raise ConfigurationError("its host or port is invalid") from None  # the error's text has parts of the value
    if parts.scheme not in ("redis", "rediss"):
        raise ConfigurationError("it is neither a Unix socket nor a Redis URL")
    if parts.fragment or "@" in parts.path + parts.query:
        raise ConfigurationError("in a user, password or parameter / ? # @ are written %2F %3F %23 %40")
    if not parts.hostname:
        raise ConfigurationError("the host is missing")
    return SecretUrl(parts.scheme + text[len(parts.scheme) :])


# RFC 9110 §5: field-name = token; field-value of visible characters, spaces and tabs between them.
_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*:[ \t]*([!-~\xa1-\xff]+(?:[ \t]+[!-~\xa1-\xff]+)*)")
_FRAMING = frozenset(("connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"))
_OWN_OPTION = {"date": "date_header", "server": "server_header"}


def _parse_headers(value: object) -> tuple[tuple[str, str], ...]:
    return tuple(_parse_header(each) for item in _items(value) for each in _lines(item))


def _lines(item: object) -> list[object]:
    return list(filter(None, item.strip().split("\n"))) if isinstance(item, str) else [item]


def _parse_header(value: object) -> tuple[str, str]:
    if isinstance(value, tuple) and len(value) == 2:  # as `Settings` holds it
        value = ": ".join(map(_text, value))
    text = _text(value)
    match = _HEADER.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"{text!r} is not a header field")
    name = match[1].lower()
    if name in _FRAMING:
        raise ConfigurationError(f"{match[1]} says how a message is framed, which is the server's own")
    if name in _OWN_OPTION:
        raise ConfigurationError(f"{match[1]} has an option of its own, {_OWN_OPTION[name]}")
    return match[1], match[2]


def _parse_server_name(value: object) -> str | None:
    if value is None:
        return None
    text = "on" if value is True else "off" if value is False else _text(value)
    if text.lower() in ("on", "true", "yes"):
        return "greenserve"
    if text.lower() in ("off", "false", "no", "none"):
        return None
    if _HEADER.fullmatch(f"Server: {text}") is None:
        raise ConfigurationError("a header field has no such characters")
    return text


def _quote_rooms(value: object) -> str:
    """As an error quotes it: in a mistyped URL it is unknown which part is the password."""
    text = value.strip() if isinstance(value, str) else ""
    return repr(text if text.startswith("unix:") and "@" not in text else conceal_url(text))


SIZE = Kind("SIZE", "bytes such as 65536, or with a unit (powers of 1024): 64K, 10M, 1G", _parse_size, _show_size)
MODE = Kind(
    "MODE", "permissions in octal digits, such as 660 (in TOML and Python also 0o660)", _parse_mode, "{:03o}".format
)
NAME = Kind("NAME", "the name of a user or group of this machine, or its number", _parse_name)
SWITCH = Kind("BOOL", "true or false", _parse_switch, lambda on: "true" if on else "false", is_flag=True)
PATTERN = Kind("REGEX", "a regular expression, as Python has them", _parse_pattern)
MOUNTS = Kind("/PREFIX=DIR", MOUNT_FORMS, parse_mounts, lambda each: ",".join(map(str, each)) or "none", is_list=True)
PATH = Kind("PATH", "a path", _parse_path)
TARGET = Kind("/PATH", "a path of the application, as a request has it, such as /ready?full", _parse_target)
PATHS = Kind("FILE", "paths, given one by one or separated by commas", _parse_paths, ",".join, is_list=True)
MODULE = Kind("MODULE", "a module, found as the application is, or the path of a file that ends in .py", _parse_module)
GLOBS = Kind(
    "GLOB",
    "globs such as *.yaml or config/*, given one by one or separated by commas",
    _parse_paths,
    ",".join,
    is_list=True,
)
DIRECTORIES = Kind("DIR", "paths, given one by one or separated by commas", _parse_paths, ",".join, is_list=True)
FUNCTION = Kind("MODULE:FUNCTION", "module:function, found as the application is", _parse_function)
ADDRESSES = Kind("ADDRESS", ADDRESS_FORMS, _parse_addresses, lambda each: ",".join(map(str, each)), is_list=True)
ADDRESS = Kind("ADDRESS", ADDRESS_FORMS, _parse_one_address)
PORT = Kind("PORT", "a port from 1 to 65535", _parse_port)
CIPHERS = Kind("CIPHERS", "names of OpenSSL's cipher suites with : between them (openssl-ciphers(1))", _parse_ciphers)
ROOMS = Kind(
    "BUS",
    "auto, unix:PATH of a socket that processes of this machine share, or redis://HOST[:PORT][/DB], with "
    "[USER]:PASSWORD@ before HOST if it asks for them (rediss:// with TLS)",
    _parse_rooms,
    lambda text: text if text == AUTO or text.startswith("unix:") else conceal_url(text),
    quote=_quote_rooms,
)


def _parse_log(value: object) -> str | Syslog:
    if isinstance(value, Syslog):
        return value
    return parse_syslog(value.strip()) if isinstance(value, str) and is_syslog(value) else _parse_path(value)


def _parse_log_format(value: object) -> str:
    text = _text(value)
    if text.lower() in WORDS:
        return text.lower()
    if "%" not in text:
        raise ConfigurationError("it is neither a word that is known nor a format with directives")
    parse_format(text)
    return text


def _parse_log_fields(value: object) -> tuple[str, ...]:
    return parse_fields([word for each in _items(value) for word in _text(each).replace(",", " ").split()])


LOG = Kind("PATH", f"a path, `-`, or {SYSLOG_FORM}", _parse_log)
LOG_FORMAT = Kind(
    "FORMAT",
    """combined, json, or directives as Apache's '%h %t "%r" %>s %b %D' or gunicorn's '%(h)s %(t)s "%(r)s" %(s)s'""",
    _parse_log_format,
)
LOG_FIELDS = Kind("FIELD", f"of {', '.join(FIELDS)}, or default", _parse_log_fields, ",".join, is_list=True)
HEADERS = Kind(
    "HEADER",
    'a name, a colon and a value, such as "Strict-Transport-Security: max-age=31536000"; several in one text stand on '
    "lines of their own",
    _parse_headers,
    lambda headers: "\n".join(f"{name}: {value}" for name, value in headers),
    is_list=True,
)
STICKY = Kind("PARAM|cookie:NAME", STICKY_FORM, parse_sticky)
SERVER_NAME = Kind("TEXT", "on, off, or the field's text", _parse_server_name, lambda text: text or "off")
ORIGINS = Kind(
    "ORIGIN",
    "origins such as https://example.com or null, `same-origin` for the request's own host, `*` for all",
    _parse_origins,
    ",".join,
    is_list=True,
)
NETWORKS = Kind("NETWORK", NETWORK_FORMS, _parse_networks, is_list=True)


def subset(*names: str) -> Kind:
    """Some of a few names, in the order given here."""

    def parse(value: object) -> tuple[str, ...]:
        words = [word.lower() for each in _items(value) for word in _text(each).replace(",", " ").split()]
        for word in words:
            if word not in names:
                raise ConfigurationError(f"{word!r} is not one of them")
        if not words:
            raise ConfigurationError("it names none")
        return tuple(name for name in names if name in words)

    return Kind("NAME", "one or more of " + ", ".join(names), parse, ",".join, is_list=True)
