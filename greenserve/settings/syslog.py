"""Where the system's log is, and as what we write to it: `syslog:[ADDRESS][?facility=NAME&severity=NAME&tag=NAME]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from greenserve.errors import ConfigurationError
from greenserve.settings.addresses import TcpAddress, parse_address

PREFIX = "syslog:"
SYSLOG_FORM = (
    f"{PREFIX} for this machine's system log, {PREFIX}HOST[:PORT] for another's by UDP, {PREFIX}PATH for a socket of "
    "another name, each with ?facility=local0&severity=info&tag=greenserve or some of these"
)
LOCAL = "/dev/log"
_PORT = 514

# RFC 5424 §6.2.1, by number
_FACILITIES = ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"]
_SEVERITIES = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]
FACILITIES = {name: number for number, name in enumerate(_FACILITIES)} | {f"local{n}": 16 + n for n in range(8)}
SEVERITIES = {name: number for number, name in enumerate(_SEVERITIES)}


@dataclass(frozen=True, slots=True)
class Syslog:
    """address: the path of a Unix socket, or host and port for UDP."""

    address: str | tuple[str, int] = LOCAL
    facility: str = "local0"
    severity: str = "info"
    tag: str = "greenserve"

    @property
    def priority(self) -> int:
        """Facility and severity in one number (RFC 5424 §6.2.1)."""
        return FACILITIES[self.facility] * 8 + SEVERITIES[self.severity]

    def __str__(self) -> str:
        address = self.address if isinstance(self.address, str) else str(TcpAddress(*self.address))
        default = Syslog()
        names = [name for name in ("facility", "severity", "tag") if getattr(self, name) != getattr(default, name)]
        options = "&".join(f"{name}={getattr(self, name)}" for name in names)
        return PREFIX + ("" if address == LOCAL else address) + ("?" + options if options else "")


def is_syslog(text: str) -> bool:
    """Whether this is about the system log; a file of such a name is written `./syslog:`."""
    return text.strip().startswith(PREFIX)


def parse_syslog(text: str) -> Syslog:
    """Parse what stands behind `syslog:` too. Raises ConfigurationError."""
    where, _, options = text.removeprefix(PREFIX).partition("?")
    values: dict[str, str] = {}
    for option in filter(None, options.split("&")):
        name, _, value = option.partition("=")
        if name not in _KNOWN:
            raise ConfigurationError(f"{name!r} is not an option of syslog; known are {', '.join(_KNOWN)}")
        if name in values:
            raise ConfigurationError(f"{name} is there twice")
        if not (_TAG.fullmatch(value) if name == "tag" else value in _KNOWN[name]):
            raise ConfigurationError(f"{value!r} is not a {name} of syslog")
        values[name] = value
    return Syslog(_parse_where(where), **values)


_KNOWN = {"facility": FACILITIES, "severity": SEVERITIES, "tag": {}}
_TAG = re.compile(r"[A-Za-z0-9_.-]{1,48}")  # RFC 5424 §6.2.5


def _parse_where(where: str) -> str | tuple[str, int]:
    if not where:
        return LOCAL
    if where.startswith("/"):
        if len(where.encode()) > 107 or not where.isprintable():  # sun_path has 108 octets
            raise ConfigurationError("it is not the path of a socket")
        return where
    if re.fullmatch(r"[^:]+|\[[^\]]*\]", where):
        where = f"{where}:{_PORT}"
    address = parse_address(where)
    if not isinstance(address, TcpAddress) or not address.port or address.scheme:
        raise ConfigurationError("it is neither a host and a port nor the path of a socket")
    return address.host, address.port
