"""Sets of clients by address: single addresses, networks, and the clients of Unix sockets."""

from __future__ import annotations

import dataclasses
import ipaddress
from dataclasses import dataclass
from socket import AF_INET, inet_pton
from typing import TypeAlias

from greenserve.errors import ConfigurationError

NETWORK_FORMS = (
    "addresses (192.0.2.1, 2001:db8::1), networks (10.0.0.0/8), `unix` for clients of Unix sockets, `*` for all that "
    "connect; or none"
)
UNIX = "unix"
ALL = "*"
NONE = "none"

_KEPT = 4096  # addresses whose membership is remembered
_IPv4: TypeAlias = tuple[int, int]  # mask, masked address: `in` of an IPv4Network takes ten times as long


@dataclass(frozen=True, slots=True)
class Networks:
    """Addresses and networks. `address in networks`: whether it is listed; "" stands for a Unix socket's client.

    entries: as they were written. all: `*` is among them, which lists no address: see `trust`.
    """

    entries: tuple[str, ...]
    all: bool
    _unix: bool
    _ipv4: tuple[_IPv4, ...]
    _ipv6: tuple[ipaddress.IPv6Network, ...]
    _known: dict[str, bool] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return ",".join(self.entries) or NONE

    def __contains__(self, address: object) -> bool:
        assert isinstance(address, str)
        listed = self._known.get(address)
        if listed is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            listed = self._known[address] = self._lists(address)
        return listed

    def trust(self, peer: str) -> bool:
        """Whether a connection from `peer` is trusted. `*` takes in all that connect, but no address that they name."""
        return self.all or peer in self

    def _lists(self, address: str) -> bool:
        if not address:
            return self._unix
        try:
            packed = inet_pton(AF_INET, address)
        except OSError:
            ip = ipaddress.IPv6Address(address)
            if ip.ipv4_mapped is None:
                return any(ip in network for network in self._ipv6)
            packed = ip.ipv4_mapped.packed  # so a socket for both families writes the address of an IPv4 client
        number = int.from_bytes(packed)
        for mask, network in self._ipv4:  # noqa: SIM110 - `any` of a generator takes twice as long
            if number & mask == network:
                return True
        return False


NO_NETWORKS = Networks((), False, False, (), ())


def parse_networks(words: list[str]) -> Networks:
    """Raises ConfigurationError, whose text says what is wrong with which word."""
    if words == [NONE]:
        return NO_NETWORKS
    if not words:
        raise ConfigurationError("it contains no address")
    networks = [_network(word) for word in words if word not in (UNIX, ALL)]
    ipv4 = tuple(
        (int(each.netmask), int(each.network_address)) for each in networks if isinstance(each, ipaddress.IPv4Network)
    )
    ipv6 = tuple(each for each in networks if isinstance(each, ipaddress.IPv6Network))
    return Networks(tuple(words), ALL in words, UNIX in words, ipv4, ipv6)


def _network(word: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(word)
    except ValueError:
        try:
            start = ipaddress.ip_network(word, strict=False)
        except ValueError:
            why = "" if "/" in word else "; a name could mean another machine tomorrow, so write its address"
            raise ConfigurationError(f"{word!r} is neither an address nor a network{why}") from None
        raise ConfigurationError(f"{word!r} is not the beginning of a network: write {start}") from None
    if network.prefixlen == 0:  # each address in an X-Forwarded-For would be a proxy's, up to what a client invented
        raise ConfigurationError(f"{word!r} is every address: write {ALL} to trust all that connect")
    return network
