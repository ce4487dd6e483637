"""The PROXY protocol, versions 1 and 2: a proxy that passes bytes on says first whose they are.

HAProxy's specification, proxy-protocol.txt. No I/O here: `read_header` looks at what has come so far, from the first
byte of a connection on. Whether the peer is a proxy that may say it is the caller's to decide (§5: the header must
never be taken from a client).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

MAX_SIZE: Final = 4096  # bytes of a header: the addresses of Unix sockets take 232, the rest is for TLVs
LOCAL: Final = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"  # a whole header, of a connection that is the sender's own (§2.2)

_SIGNATURE: Final = LOCAL[:12]
_V2_HEAD: Final = 16  # signature, version and command, family and protocol, length of what follows
_V1: Final = b"PROXY "
_V1_SIZE: Final = 107  # of the longest line, with its CRLF (§2.1)
# "PROXY" SP ("TCP4" / "TCP6") SP source SP destination SP source port SP destination port CRLF: §2.1
_V1_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|"
    rb"TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n"
)
# Family and protocol: the address's size, where it begins with the source. 0 is UNSPEC; what is for datagrams, or not
# defined, must be refused (§2.2).
_ADDRESS_SIZES: Final = {0x00: 0, 0x11: 4, 0x21: 16, 0x31: 108}
_CRC32C: Final = 0x03  # the types of TLVs that are looked into: §2.2.1, §2.2.6
_SSL: Final = 0x20
_CLIENT_SSL: Final = 0x01  # in the first byte of that one's value


class BadProxyHeader(ValueError):
    """A connection does not begin with a valid header; the text says why."""


class ProxyHeader(NamedTuple):
    """What a header says.

    size: its length in bytes; the client's own follow. client: address and port, each "" for a Unix socket's client;
    None when the connection is the proxy's own (a health check), or the proxy does not know. tls: the client has spoken
    TLS with the proxy.
    """

    size: int
    client: tuple[str, str] | None
    tls: bool = False


def read_header(data: bytes) -> ProxyHeader | None:
    """The header that `data` begins with; None while it is incomplete. Raises BadProxyHeader as soon as that is known
    not to be one.
    """
    if data[:12] == _SIGNATURE[: len(data)]:
        return _read_v2(data) if len(data) >= _V2_HEAD else None
    if data[:6] == _V1[: len(data)]:
        return _read_v1(data)
    raise BadProxyHeader(f"it begins with {data[:12]!r}, not with a PROXY header")


def _read_v1(data: bytes) -> ProxyHeader | None:
    size = data.find(b"\r\n", 0, _V1_SIZE) + 2
    if size < 2:
        if len(data) >= _V1_SIZE:
            raise BadProxyHeader(f"its PROXY line is longer than {_V1_SIZE} bytes")
        return None
    match = _V1_LINE.fullmatch(data, 0, size)
    if match is None:
        raise BadProxyHeader(f"{data[:size]!r} is not a PROXY line")
    family, source, destination, source_port, port = match.groups()
    if family is None:
        return ProxyHeader(size, None)
    kind = ipaddress.IPv4Address if family == b"4" else ipaddress.IPv6Address
    try:
        kind(destination.decode("ascii"))
        client = _name(kind(source.decode("ascii")))
    except ValueError:
        raise BadProxyHeader(f"{data[:size]!r} holds what is not an address of IPv{family.decode()}") from None
    if max(int(source_port), int(port)) > 65535:
        raise BadProxyHeader(f"{data[:size]!r} holds what is not a port")
    return ProxyHeader(size, (client, source_port.decode("ascii")))


def _read_v2(data: bytes) -> ProxyHeader | None:
    version, command, family = data[12] >> 4, data[12] & 15, data[13]
    size = _V2_HEAD + int.from_bytes(data[14:16])
    if version != 2 or command > 1:
        raise BadProxyHeader(f"version {version} and command {command} of its PROXY header are not known")
    if size > MAX_SIZE:
        raise BadProxyHeader(f"its PROXY header has {size} bytes, more than {MAX_SIZE}")
    if len(data) < size:
        return None
    address_size = _ADDRESS_SIZES.get(family)
    if command == 0:  # LOCAL: all else is to be ignored, whatever it is
        return ProxyHeader(size, None)
    if address_size is None:
        raise BadProxyHeader(f"family and protocol {family:#04x} of its PROXY header are not those of a stream")
    ports = _V2_HEAD + 2 * address_size
    end = ports + (4 if family in (0x11, 0x21) else 0)
    if size < end:
        raise BadProxyHeader("its PROXY header is too short for the addresses")
    tls = _read_tlvs(data[:size], end)
    if family == 0x00:
        return ProxyHeader(size, None, tls)
    if family == 0x31:
        return ProxyHeader(size, ("", ""), tls)
    source = data[_V2_HEAD : _V2_HEAD + address_size]
    return ProxyHeader(size, (_name(ipaddress.ip_address(source)), str(int.from_bytes(data[ports : ports + 2]))), tls)


def _name(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An IPv4 client is one also where the proxy listens for both families."""
    return str((ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip)


def _read_tlvs(header: bytes, at: int) -> bool:
    """Check all TLVs from `at` on; returns whether one says that the client has spoken TLS."""
    tls = False
    while at < len(header):
        kind, start = header[at], at + 3
        at = start + int.from_bytes(header[at + 1 : start])
        if start > len(header) or at > len(header):
            raise BadProxyHeader("a TLV of its PROXY header is longer than the header")
        if kind == _CRC32C:
            zeroed = header[:start] + bytes(at - start) + header[at:]
            if header[start:at] != crc32c(zeroed).to_bytes(4):
                raise BadProxyHeader("the checksum of its PROXY header is wrong")
        elif kind == _SSL:
            tls = header[start:at][:1] != b"" and bool(header[start] & _CLIENT_SSL)
    return tls


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3385 (Castagnoli's polynomial), which `zlib` does not have."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(map(_crc_of_byte, range(256)))
