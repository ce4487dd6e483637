"""Where a server listens: parsed in one place, frozen, and `str()` gives back the form that was parsed."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass

from greenserve.errors import ConfigurationError
from greenserve.settings.access import BY_ITSELF, Access

ADDRESS_FORMS = (
    "HOST:PORT, [IPV6]:PORT, :PORT (every IPv4 interface), PORT (127.0.0.1), each with https:// or http:// in front if "
    "need be, unix:PATH, unix:PATH?mode=660&user=NAME&group=NAME (permissions and owner, each as needed) or fd://N"
)
SCHEMES = ("http", "https")

# RFC 1123 §2.1 names, and `_`, which container networks put into theirs.
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
# sizeof(sockaddr_un.sun_path) is 108 on Linux and 104 on BSD and macOS, its closing NUL included.
_MAX_UNIX_PATH = 103


class _Address:
    __slots__ = ()

    @property
    def url(self) -> str:
        """The address itself: a Unix socket has no agreed URL, and the address of a descriptor is not known here."""
        return str(self)

    @property
    def place(self) -> str:
        """What only one listener can have: the address without what is said about it."""
        return self.url


@dataclass(frozen=True, slots=True)
class TcpAddress(_Address):
    """A host (a name, an IPv4 or an IPv6 literal without brackets) and a port; port 0 lets the kernel choose.

    scheme: one of SCHEMES; "" where the address does not say it: then TLS is spoken if there is a certificate.
    """

    host: str
    port: int
    scheme: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}" if self.scheme else self.place

    @property
    def is_secure(self) -> bool:
        """Whether it certainly speaks TLS."""
        return self.scheme == "https"

    @property
    def place(self) -> str:
        """Without the scheme."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """What a browser on this machine opens: a wildcard is shown as localhost."""
        wildcard = self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
        return f"{self.scheme or 'http'}://{f'localhost:{self.port}' if wildcard else self.place}"


@dataclass(frozen=True, slots=True)
class UnixAddress(_Address):
    """A Unix-domain stream socket at `path`. access: in place of what the settings say for all sockets."""

    path: str
    access: Access = BY_ITSELF

    def __str__(self) -> str:
        return self.url if self.access == BY_ITSELF else f"{self.url}?{self.access}"

    @property
    def url(self) -> str:
        """Without the access."""
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class FdAddress(_Address):
    """A listening socket that was inherited as file descriptor `fd` (systemd, a supervisor)."""

    fd: int

    def __str__(self) -> str:
        return f"fd://{self.fd}"


Address = TcpAddress | UnixAddress | FdAddress


def parse_address(text: str) -> Address:
    """Parse one address. Raises ConfigurationError, whose text says what is wrong (ADDRESS_FORMS is not in it)."""
    text = text.strip()
    if text.startswith("unix:"):
        return _unix(text)
    if text.startswith("fd://"):
        digits = text.removeprefix("fd://")
        if not _is_number(digits):
            raise _error(text, "the number of an inherited descriptor must follow fd://, as in fd://3")
        return FdAddress(int(digits))
    scheme, separator, place = text.partition("://")
    if not separator:
        scheme, place = "", text
    elif scheme not in SCHEMES:
        raise _error(text, f"{scheme}:// is not one of {', '.join(f'{each}://' for each in SCHEMES)}, unix: and fd://")
    if _is_number(place):
        return TcpAddress("127.0.0.1", _port(text, place), scheme)
    host, colon, port = place.rpartition(":")
    if not colon:
        raise _error(text, "the port is missing")
    return TcpAddress(_host(text, host), _port(text, port), scheme)


def _unix(text: str) -> UnixAddress:
    path, asked, options = text.removeprefix("unix:").partition("?")
    if not path or "\0" in path:
        raise _error(text, "the path of the socket must follow unix:")
    if path.startswith("@"):
        raise _error(text, f"abstract sockets, to which every user may connect, are not served; a file is ./{path}")
    if len(os.fsencode(path)) > _MAX_UNIX_PATH:
        raise _error(text, f"a Unix socket's path has at most {_MAX_UNIX_PATH} bytes")
    try:
        return UnixAddress(path, Access.parse(options) if asked else BY_ITSELF)
    except ConfigurationError as error:
        raise _error(text, str(error)) from None


def _host(text: str, host: str) -> str:
    if not host:
        return "0.0.0.0"  # noqa: S104 - the form `:PORT` asks for every interface
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise _error(text, f"{host[1:-1]!r} is not an IPv6 address") from None
    if ":" in host:
        raise _error(text, "an IPv6 address must be in brackets, as in [::1]:8000")
    if not _HOST_NAME.fullmatch(host):
        raise _error(text, f"{host!r} is not a host name")
    return host


def _port(text: str, digits: str) -> int:
    if not _is_number(digits) or int(digits) > 65535:
        raise _error(text, f"{digits!r} is not a port from 0 to 65535")
    return int(digits)


def _is_number(text: str) -> bool:
    # str.isdigit alone would let other scripts' digits through; the length keeps int() from being asked for megabytes.
    return text.isascii() and text.isdigit() and len(text) <= 9


def _error(text: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{text!r} is not an address: {why}")
