"""Sets of clients by address: single addresses, networks, and the clients of Unix sockets."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_pton
from typing import TypeAlias

from greenserve.errors import ConfigurationError

NETWORK_FORMS = (
    "addresses (192.0.2.1, 2001:db8::1), networks (10.0.0.0/8), `unix` for clients of Unix sockets, `*` for all that "
    "connect; or none"
)
UNIX = "unix"
ALL = "*"
NONE = "none"

_Masked: TypeAlias = tuple[int, int]  # mask, masked address: `in` of an IPv4Network takes ten times as long
_MAPPED = 0xFFFF  # what stands before an IPv4 address that is written as an IPv6 one (RFC 4291 §2.5.5.2)


@dataclass(frozen=True, slots=True)
class Networks:
    """Addresses and networks. `address in networks`: whether it is listed; "" stands for a Unix socket's client.

    entries: as they were written. all: `*` is among them, which lists no address: see `trust`.
    """

    entries: tuple[str, ...]
    all: bool
    _unix: bool
    _ipv4: tuple[_Masked, ...]
    _ipv6: tuple[_Masked, ...]

    def __str__(self) -> str:
        return ",".join(self.entries) or NONE

    def __contains__(self, address: object) -> bool:
        assert isinstance(address, str)
        if not address:
            return self._unix
        networks = self._ipv4
        if ":" in address:
            number = int.from_bytes(inet_pton(AF_INET6, address.partition("%")[0]))
            if number >> 32 == _MAPPED:  # so a socket for both families writes the address of an IPv4 client
                number &= 0xFFFFFFFF
            else:
                networks = self._ipv6
        else:
            number = int.from_bytes(inet_pton(AF_INET, address))
        for mask, network in networks:  # noqa: SIM110 - `any` of a generator takes twice as long
            if number & mask == network:
                return True
        return False

    def trust(self, peer: str) -> bool:
        """Whether a connection from `peer` is trusted. `*` takes in all that connect, but no address that they name."""
        return self.all or peer in self


NO_NETWORKS = Networks((), False, False, (), ())


def parse_networks(words: list[str]) -> Networks:
    """Raises ConfigurationError, whose text says what is wrong with which word."""
    if words == [NONE]:
        return NO_NETWORKS
    if not words:
        raise ConfigurationError("it contains no address")
    networks = [_network(word) for word in words if word not in (UNIX, ALL)]
    ipv4, ipv6 = (
        tuple((int(each.netmask), int(each.network_address)) for each in networks if each.version == version)
        for version in (4, 6)
    )
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
