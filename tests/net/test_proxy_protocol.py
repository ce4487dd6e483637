"""The PROXY protocol: each header whole and cut at each byte, and all that is not one."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.net.proxy_protocol import LOCAL, MAX_SIZE, BadProxyHeader, ProxyHeader, crc32c, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TCP4 = bytes([192, 0, 2, 1, 10, 0, 0, 9]) + struct.pack("!HH", 4711, 443)
TCP6 = ipaddress.ip_address("2001:db8::1").packed + bytes(15) + b"\x01" + struct.pack("!HH", 4711, 443)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")


def v2(rest: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(rest)) + rest


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def with_checksum(rest: bytes, *, wrong: int = 0) -> bytes:
    zeroed = v2(rest + tlv(3, bytes(4)))
    return zeroed[:-4] + (crc32c(zeroed) ^ wrong).to_bytes(4)


MOST = ":".join(["ffff"] * 8)
GOOD = {
    b"PROXY TCP4 192.0.2.1 10.0.0.9 4711 443\r\n": ("192.0.2.1", "4711"),
    b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n": ("0.0.0.0", "0"),
    b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n": ("2001:db8::1", "4711"),
    b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:10.0.0.9 4711 443\r\n": ("192.0.2.1", "4711"),
    b"PROXY TCP6 " + f"{MOST} {MOST} 65535 65535\r\n".encode(): (
        ":".join(["ffff"] * 8),
        "65535",
    ),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN " + f"{MOST} {MOST} 65535 65535\r\n".encode(): None,
    LOCAL: None,
    v2(TCP4, command=0x20): None,
    v2(b"anything", command=0x20, family=0xFF): None,
    v2(b"", family=0x00): None,
    v2(tlv(4, b"x"), family=0x00): None,
    v2(TCP4): ("192.0.2.1", "4711"),
    v2(TCP6, family=0x21): ("2001:db8::1", "4711"),
    v2(UNIX, family=0x31): ("", ""),
    v2(TCP4 + tlv(2, b"example.com") + tlv(4, b"") + tlv(0xEA, b"vpce-1")): ("192.0.2.1", "4711"),
    v2(TCP4 + tlv(4, bytes(MAX_SIZE - 16 - 12 - 3))): ("192.0.2.1", "4711"),
    with_checksum(TCP4): ("192.0.2.1", "4711"),
    with_checksum(TCP4 + tlv(4, b"padding")): ("192.0.2.1", "4711"),
}


@pytest.mark.parametrize(("header", "client"), GOOD.items())
def test_a_header_says_whose_bytes_follow(header: bytes, client: tuple[str, str] | None) -> None:
    assert read_header(header) == read_header(header + b"GET / HTTP/1.1\r\n") == ProxyHeader(len(header), client)
    for end in range(len(header)):
        assert read_header(header[:end]) is None


@pytest.mark.parametrize(
    ("value", "tls"),
    [(b"\x01\0\0\0\0", True), (b"\x07\0\0\0\0" + tlv(0x21, b"TLSv1.3"), True), (b"\0\0\0\0\0", False), (b"", False)],
)
def test_a_header_says_whether_the_client_has_spoken_tls(value: bytes, tls: bool) -> None:
    found = read_header(v2(TCP4 + tlv(0x20, value)))
    assert found is not None
    assert found.tls is tls


BAD = {
    b"GET / HTTP/1.1\r\n\r\n": 1,
    b"\x16\x03\x01": 1,
    b"\r\n\r\n\x01": 5,
    b"PROXYTCP4": 6,
    b"PROXY \r\n": 8,
    b"PROXY TCP4\r\n": 12,
    b"PROXY TCP5 192.0.2.1 10.0.0.9 4711 443\r\n": 40,
    b"PROXY UNKNOWN4\r\n": 16,
    b"PROXY TCP4 192.0.2.1 10.0.0.9 4711\r\n": 36,
    b"PROXY TCP4  192.0.2.1 10.0.0.9 4711 443\r\n": 41,
    b"PROXY TCP4 192.0.2.1 10.0.0.9 4711 443 \r\n": 41,
    b"PROXY TCP4 192.0.2.01 10.0.0.9 4711 443\r\n": 41,
    b"PROXY TCP4 192.0.2.1 10.0.0.999 4711 443\r\n": 42,
    b"PROXY TCP4 2001:db8::1 ::1 4711 443\r\n": 37,
    b"PROXY TCP6 192.0.2.1 10.0.0.9 4711 443\r\n": 40,
    b"PROXY TCP4 192.0.2.1 10.0.0.9 65536 443\r\n": 41,
    b"PROXY TCP4 192.0.2.1 10.0.0.9 4711 99999\r\n": 42,
    b"PROXY TCP4 192.0.2.1 10.0.0.9 04711 443\r\n": 41,
    b"PROXY TCP4 192.0.2.1 10.0.0.9 -1 443\r\n": 38,
    b"proxy TCP4 192.0.2.1 10.0.0.9 4711 443\r\n": 1,
    b"PROXY UNKNOWN " + b"x" * 100: 107,
    v2(TCP4, command=0x11): 16,
    v2(TCP4, command=0x22): 16,
    v2(TCP4, family=0x12): 28,
    v2(TCP4, family=0x41): 28,
    v2(TCP4[:-1]): 27,
    v2(TCP4, family=0x21): 28,
    v2(UNIX[:-1], family=0x31): 231,
    v2(TCP4 + b"\x04"): 29,
    v2(TCP4 + b"\x04\x00"): 30,
    v2(TCP4 + b"\x04\x00\x01"): 31,
    v2(b"x", family=0x00): 17,
    v2(bytes(MAX_SIZE - 15)): 16,
    v2(bytes(65535), command=0x20): 16,
    with_checksum(TCP4, wrong=1): 35,
    v2(TCP4 + tlv(3, b"")): 31,
}


@pytest.mark.parametrize(("header", "at"), BAD.items())
def test_what_is_not_one_is_refused_as_soon_as_that_is_known(header: bytes, at: int) -> None:
    for end in range(at):
        assert read_header(header[:end]) is None
    with pytest.raises(BadProxyHeader) as caught:
        read_header(header[:at])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 §B.4


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda rest: SIGNATURE + rest))
def test_whatever_comes_is_a_header_or_not_and_cuts_change_nothing(data: bytes) -> None:
    def verdict(part: bytes) -> ProxyHeader | str | None:
        try:
            return read_header(part)
        except BadProxyHeader:
            return "bad"

    found = [verdict(data[:end]) for end in range(len(data) + 1)]
    first = next((each for each in found if each is not None), None)
    assert found == [None] * found.index(first) + [first] * (len(found) - found.index(first))


TLVS = st.lists(st.tuples(st.integers(0x30, 255), st.binary())).map(lambda tlvs: b"".join(tlv(*each) for each in tlvs))


@given(st.ip_addresses(v=4), st.ip_addresses(v=6), st.integers(0, 65535), TLVS)
def test_both_versions_say_the_same(
    v4: ipaddress.IPv4Address, v6: ipaddress.IPv6Address, port: int, rest: bytes
) -> None:
    for kind, family, ip in ((b"TCP4", 0x11, v4), (b"TCP6", 0x21, v6)):
        one = b"PROXY %s %s %s %d 1\r\n" % (kind, str(ip).encode(), str(ip).encode(), port)
        two = v2(ip.packed * 2 + struct.pack("!HH", port, 1) + rest, family=family)
        first, second = read_header(one), read_header(two)
        assert first is not None
        assert second is not None
        assert first.client == second.client == (str(getattr(ip, "ipv4_mapped", None) or ip), str(port))
