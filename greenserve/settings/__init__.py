"""The settings of a server: `Settings` (each option once), the addresses, and `resolve`, which gathers the sources.

The command line, the environment, the TOML file, `check` and docs/settings.md all derive from the fields of `Settings`.
"""

from __future__ import annotations

from greenserve.settings.access import BY_ITSELF, Access
from greenserve.settings.addresses import (
    ADDRESS_FORMS,
    Address,
    FdAddress,
    TcpAddress,
    UnixAddress,
    parse_address,
)
from greenserve.settings.kinds import AUTO, Kind
from greenserve.settings.model import MOST_WORKERS, OPTIONS, Option, Origin, Settings, Source, instead
from greenserve.settings.mounts import Mount
from greenserve.settings.passed_sockets import PassedSockets
from greenserve.settings.secrets import conceal, conceal_url
from greenserve.settings.sources import Resolution, resolve

__all__ = [
    "ADDRESS_FORMS",
    "AUTO",
    "BY_ITSELF",
    "MOST_WORKERS",
    "OPTIONS",
    "Access",
    "Address",
    "FdAddress",
    "Kind",
    "Mount",
    "Option",
    "Origin",
    "PassedSockets",
    "Resolution",
    "Settings",
    "Source",
    "TcpAddress",
    "UnixAddress",
    "conceal",
    "conceal_url",
    "instead",
    "parse_address",
    "resolve",
]
