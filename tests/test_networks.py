"""Sets of clients by address, as settings have them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ConfigurationError
from greenserve.http.forwarded import NAMES
from greenserve.settings import Settings
from greenserve.settings.networks import Networks


def networks(value: object) -> Networks:
    return Settings.from_kwargs(trusted_proxies=value).trusted_proxies


@pytest.mark.parametrize(
    ("value", "inside", "outside"),
    [
        ("192.0.2.1", ["192.0.2.1", "::ffff:192.0.2.1"], ["192.0.2.2", "", "::1"]),
        ("10.0.0.0/8, 2001:db8::/32", ["10.255.0.1", "2001:db8::1", "2001:DB8:0::1"], ["11.0.0.1", "2001:db9::1"]),
        (["unix", "::1"], ["", "::1"], ["127.0.0.1"]),
        ("fe80::/10", ["fe80::1%eth0"], ["fec0::1"]),
        ("127.0.0.0/8 ::1 unix", ["127.0.0.2", "", "::1"], ["128.0.0.1"]),
        ("none", [], ["127.0.0.1", "", "::1"]),
        (None, [], ["127.0.0.1", ""]),
        ("*", [], ["127.0.0.1", ""]),
    ],
)
def test_what_is_inside(value: object, inside: list[str], outside: list[str]) -> None:
    found = networks(value)
    assert all(address in found for address in inside)
    assert not any(address in found for address in outside)
    assert networks(str(found)) == found


def test_a_star_trusts_all_that_connect_and_lists_no_address() -> None:
    found = networks("*,10.0.0.0/8")
    assert found.trust("192.0.2.1")
    assert found.trust("")
    assert "192.0.2.1" not in found
    assert "10.0.0.1" in found
    assert not networks("10.0.0.0/8").trust("192.0.2.1")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("nginx", "a name could mean another machine tomorrow"),
        ("10.0.0.1/8", r"write 10\.0\.0\.0/8"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("10.0.0.0/33", "neither an address nor a network"),
        ("010.0.0.1", "neither"),
        ("0.0.0.0/0", r"write \*"),
        ("::/0", r"write \*"),
        ("127.0.0.1:80", "neither"),
        ("none,::1", "neither"),
        ("", "contains no address"),
        ([], "contains no address"),
        (7, "of type int"),
    ],
)
def test_what_is_not_a_network_is_an_error_that_says_what_to_write(value: object, why: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^trusted_proxies = .*{why}.*Accepted: addresses"):
        networks(value)


@given(st.ip_addresses(), st.integers(1, 32))
def test_membership_is_that_of_the_standard_library(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int
) -> None:
    network = ipaddress.ip_network((address, prefix), strict=False)
    found = networks(str(network))
    assert str(network.network_address) in found
    assert str(network.broadcast_address) in found
    other = ipaddress.ip_address(int(address) ^ (1 << (address.max_prefixlen - prefix)))
    assert str(other) not in found


@pytest.mark.parametrize("value", ["x-forwarded-for", "X-Forwarded-Proto, x-forwarded-for", ["forwarded"]])
def test_some_headers_may_be_chosen(value: object) -> None:
    settings = Settings.from_kwargs(forwarded_headers=value)
    assert settings.forwarded_headers in (
        ("x-forwarded-for",),
        ("x-forwarded-for", "x-forwarded-proto"),
        ("forwarded",),
    )
    assert Settings.from_kwargs(forwarded_headers=settings.shown()["forwarded_headers"]) == settings


@pytest.mark.parametrize("value", ["", "x-real-ip", 1])
def test_others_cannot(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^forwarded_headers = .*Accepted: one or more of forwarded"):
        Settings.from_kwargs(forwarded_headers=value)


def test_the_headers_to_choose_from_are_those_that_are_read() -> None:
    assert Settings().forwarded_headers == NAMES
