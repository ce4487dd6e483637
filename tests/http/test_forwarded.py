"""What proxies say of the client: the walk to the first address that is not trusted, and all that is malformed."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import BadRequest, HeaderFieldsTooLarge
from greenserve.http.forwarded import MAX_MEMBERS, NAMES, UNKNOWN, ForwardedReader

from .support import cgi_of

PROXIES = {"10.0.0.1", "10.0.0.2", "2001:db8::1"}
READER = ForwardedReader(NAMES, PROXIES.__contains__)


class Said(NamedTuple):
    """What a reader returns, side by side."""

    address: str | None
    port: str
    scheme: str | None
    host: str | None
    server_port: str | None
    prefix: str


NOTHING = Said(None, "", None, None, None, "")


def read(*lines: tuple[str, str], reader: ForwardedReader = READER) -> Said:
    client, site = reader.read(cgi_of(("host", "server"), *lines))
    return Said(*(client or (None, "")), *site)


def client(value: str, field: str = "x-forwarded-for") -> tuple[str | None, str]:
    said = read((field, value))
    return said.address, said.port


# X-Forwarded-For


@pytest.mark.parametrize(
    ("value", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", ""),
        ("192.0.2.1:4711", "192.0.2.1", "4711"),
        ("192.0.2.1:_gate", "192.0.2.1", ""),
        ("2001:db8::7", "2001:db8::7", ""),
        ("2001:DB8:0:0::7", "2001:db8::7", ""),
        ("[2001:db8::7]", "2001:db8::7", ""),
        ("[2001:db8::7]:80", "2001:db8::7", "80"),
        ("::ffff:192.0.2.1", "192.0.2.1", ""),
        ("[::ffff:c000:201]:1", "192.0.2.1", "1"),
        ("fe80::1%eth0", "fe80::1", ""),
        ("[fe80::1%25en1]:9", "fe80::1", "9"),
        ("unknown", UNKNOWN, ""),
        ("UNKNOWN", UNKNOWN, ""),
        ("_hidden", UNKNOWN, ""),
        ("_SEVKISEK:4711", UNKNOWN, "4711"),
        # What stands to the left of the first address that is not trusted is the client's own word.
        ("203.0.113.9, 192.0.2.1", "192.0.2.1", ""),
        ("203.0.113.9, 192.0.2.1, 10.0.0.2", "192.0.2.1", ""),
        ("<script>, 192.0.2.1, 10.0.0.2:99, [2001:db8::1]", "192.0.2.1", ""),
        ("192.0.2.1, unknown, 10.0.0.2", UNKNOWN, ""),
        ("192.0.2.1, ::ffff:10.0.0.1", "192.0.2.1", ""),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1", ""),
        (" ,192.0.2.1 ,\t, ,", "192.0.2.1", ""),
        ("192.0.2.1\t,10.0.0.1", "192.0.2.1", ""),
        (",".join(["203.0.113.9"] * 5000 + ["192.0.2.1"]), "192.0.2.1", ""),
        (",".join(["192.0.2.1"] + ["10.0.0.1"] * 1000), "192.0.2.1", ""),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_not_trusted(value: str, address: str, port: str) -> None:
    assert client(value) == (address, port)


@pytest.mark.parametrize("value", ["", ",", " , ,, "])
def test_an_empty_field_says_nothing(value: str) -> None:
    assert read(*((name, value) for name in NAMES)) == NOTHING


@pytest.mark.parametrize(
    "value",
    [
        "localhost",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.01",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "192.0.2.1:http",
        "192.0.2.1 10.0.0.1",
        "192.0.2.1/32",
        "2001:db8::g",
        "2001:db8:::1",
        "[2001:db8::1",
        "2001:db8::1]",
        "[192.0.2.1]",
        "[2001:db8::1]80",
        "fe80::1%<b>",
        "fe80::1%",
        "unknown2",
        "_",
        "_a b",
        '"192.0.2.1"',
        "for=192.0.2.1",
        "\u0661.0.0.1",
        "\xb2.0.0.1",
        "\x00",
        "x" * 5000,
        "192.0.2.1, evil, 10.0.0.1",
    ],
)
def test_what_a_trusted_proxy_says_must_be_an_address(value: str) -> None:
    with pytest.raises(BadRequest, match=r"^the field x-forwarded-for of a trusted proxy: ") as caught:
        client(value)
    assert len(str(caught.value)) < 600


def test_lists_without_end_are_refused() -> None:
    for value in ("10.0.0.1," * MAX_MEMBERS + "10.0.0.2", "," * 60_000):
        with pytest.raises(HeaderFieldsTooLarge):
            client(value)
    with pytest.raises(HeaderFieldsTooLarge):
        read(("forwarded", "a=b," * MAX_MEMBERS))


# The other fields of that family


@pytest.mark.parametrize(
    ("field", "value", "scheme"),
    [
        ("x-forwarded-proto", "https", "https"),
        ("x-forwarded-proto", "HTTP", "http"),
        ("x-forwarded-proto", "wss", "https"),
        ("x-forwarded-proto", "ws", "http"),
        ("x-forwarded-proto", "gopher, https", "https"),
        ("forwarded", "proto=https", "https"),
        ("forwarded", 'Proto="HTTPS"', "https"),
    ],
)
def test_the_scheme(field: str, value: str, scheme: str) -> None:
    assert read((field, value)).scheme == scheme


@pytest.mark.parametrize("value", ["gopher", "on", "https http", "https;", "\u017fecure"])
def test_another_scheme_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="not http or https"):
        read(("x-forwarded-proto", value))


@pytest.mark.parametrize(
    ("for_", "proto", "scheme"),
    [
        ("192.0.2.1", "http, https", "https"),
        ("192.0.2.1, 10.0.0.1", "https, http", "https"),
        ("192.0.2.1, 10.0.0.1", "https", "https"),
        ("203.0.113.1, 192.0.2.1, 10.0.0.1", "gopher, https, http", "https"),
        ("192.0.2.1, 10.0.0.1, 10.0.0.2", "https, http", "https"),
    ],
)
def test_the_proxy_next_to_the_client_knows_the_rest(for_: str, proto: str, scheme: str) -> None:
    assert read(("x-forwarded-for", for_), ("x-forwarded-proto", proto)).scheme == scheme


@pytest.mark.parametrize("host", ["example.com", "example.com:8443", "[2001:db8::9]:80", "XN--A.example"])
def test_the_host(host: str) -> None:
    assert read(("x-forwarded-host", host)).host == host
    assert read(("forwarded", f'host="{host}"')).host == host


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "user:pass@a", "[::g]", "a:b", "a\\b", "a#", "a\x7f", "\xfc"])
def test_what_is_not_a_host_is_refused(host: str) -> None:
    with pytest.raises(BadRequest, match=r"x-forwarded-host of a trusted proxy: .* is not a host"):
        read(("x-forwarded-host", host))


@pytest.mark.parametrize("port", ["1", "443", "65535"])
def test_the_port(port: str) -> None:
    assert read(("x-forwarded-port", port)).server_port == port


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "1.5", "000080", "\u0661"])
def test_what_is_not_a_port_is_refused(port: str) -> None:
    with pytest.raises(BadRequest, match="not a port"):
        read(("x-forwarded-port", port))


@pytest.mark.parametrize(
    ("value", "prefix"),
    [
        ("/shop", "/shop"),
        ("/shop/", "/shop"),
        ("/", ""),
        ("/a/b", "/a/b"),
        ("/a%20b/%C3%BC", "/a b/\xc3\xbc"),
        ("/evil, /shop", "/shop"),
    ],
)
def test_the_prefix(value: str, prefix: str) -> None:
    assert read(("x-forwarded-prefix", value)).prefix == prefix


def test_each_proxy_on_the_way_may_take_away_a_prefix() -> None:
    lines = [("x-forwarded-for", "192.0.2.1, 10.0.0.1"), ("x-forwarded-prefix", "/evil, /a, /b/")]
    assert read(*lines).prefix == "/a/b"


@pytest.mark.parametrize(
    "value",
    ["shop", "//evil.example", "/a//b", "/%2Fevil.example", "/%5Cevil", "/\\evil", "/a?b", "/a#b", "/%0Aa", "/<b>"],
)
def test_what_would_be_a_host_in_links_is_not_a_prefix(value: str) -> None:
    with pytest.raises(BadRequest, match="not the beginning of a path"):
        read(("x-forwarded-prefix", value))


# Forwarded


@pytest.mark.parametrize(
    ("value", "address", "port"),
    [
        ("for=192.0.2.1", "192.0.2.1", ""),
        ("For=192.0.2.1", "192.0.2.1", ""),
        ('for="192.0.2.1:4711"', "192.0.2.1", "4711"),
        ("for=192.0.2.1:4711", "192.0.2.1", "4711"),
        ('for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17", "4711"),
        ("for=[2001:db8:cafe::17]", "2001:db8:cafe::17", ""),
        (r'for="\1\9\2.0.2.1"', "192.0.2.1", ""),
        ("for=unknown", UNKNOWN, ""),
        ('for="_gazonk"', UNKNOWN, ""),
        ("for=192.0.2.43;by=203.0.113.60;proto=http;host=example.com", "192.0.2.43", ""),
        ("for=192.0.2.43 ; proto=http", "192.0.2.43", ""),
        ("for=192.0.2.43;", "192.0.2.43", ""),
        (";;for=192.0.2.43", "192.0.2.43", ""),
        ("for=203.0.113.1, for=192.0.2.43,for=10.0.0.1", "192.0.2.43", ""),
        ('for=192.0.2.43, for="[2001:db8::1]"', "192.0.2.43", ""),
        ("for=192.0.2.43, by=10.0.0.1", None, ""),
        ("for=192.0.2.43, , ,", "192.0.2.43", ""),
        ('for="evil", for=192.0.2.43', "192.0.2.43", ""),
        ('x="a, for=10.0.0.1, ;b=\\"", for=192.0.2.43', "192.0.2.43", ""),
        (",".join(["for=203.0.113.1"] * 1000 + ["for=192.0.2.43"]), "192.0.2.43", ""),
    ],
)
def test_forwarded_says_the_same(value: str, address: str | None, port: str) -> None:
    assert client(value, "forwarded") == (address, port)


@pytest.mark.parametrize(
    "value",
    [
        "for",
        "for=",
        'for=""',
        "=192.0.2.1",
        "for =192.0.2.1",
        "for= 192.0.2.1",
        "192.0.2.1",
        'for="192.0.2.1',
        'for="192.0.2.1"x',
        "for=192.0.2.1;for=192.0.2.2",
        "for=192.0.2.1;FOR=192.0.2.1",
        "for=192.0.2.1 proto=http",
        # A client leaves a quote open, so that the address that a proxy adds would stand in a string of the client's.
        'for="203.0.113.1, for=192.0.2.1',
        'for="203.0.113.1, for="192.0.2.1"',
        'for=203.0.113.1;x="\\, for="[2001:db8::9]:1";proto=http',
        "for=192.0.2.1;proto=gopher",
        "for=192.0.2.1;host=a/b",
        'for="\x01"',
        'for="a\\',
    ],
)
def test_what_is_not_forwarded_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match=r"^the field forwarded of a trusted proxy: "):
        read(("forwarded", value))


def test_the_element_of_the_client_has_the_scheme_and_the_host_or_else_the_next_one() -> None:
    said = read(("forwarded", "for=203.0.113.1;host=evil, for=192.0.2.1;proto=https, for=10.0.0.1;host=own;proto=http"))
    assert said == Said("192.0.2.1", "", "https", "own", None, "")


def test_fields_that_are_repeated_are_one_list() -> None:
    assert read(("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "10.0.0.1")).address == "192.0.2.1"
    assert read(("forwarded", "for=192.0.2.1"), ("forwarded", "for=10.0.0.1")).address == "192.0.2.1"


# Both


def test_both_may_say_the_same_and_each_what_the_other_does_not() -> None:
    said = read(
        ("forwarded", 'for="192.0.2.1:80";host=Example.com'),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "example.com"),
    )
    assert said == Said("192.0.2.1", "80", "https", "example.com", None, "")


@pytest.mark.parametrize(
    ("forwarded", "field", "value"),
    [
        ("for=192.0.2.1", "x-forwarded-for", "192.0.2.2"),
        ("for=unknown", "x-forwarded-for", "192.0.2.2"),
        ("for=192.0.2.1", "x-forwarded-for", "192.0.2.1, unknown"),
        ("proto=https", "x-forwarded-proto", "http"),
        ("host=a", "x-forwarded-host", "b"),
        ("host=a", "x-forwarded-host", "a:80"),
    ],
)
def test_both_must_not_contradict_each_other(forwarded: str, field: str, value: str) -> None:
    with pytest.raises(BadRequest, match=f"^the fields {field} and forwarded contradict each other"):
        read(("forwarded", forwarded), (field, value))


@pytest.mark.parametrize("name", NAMES)
def test_a_field_that_does_not_count_is_not_read(name: str) -> None:
    reader = ForwardedReader(set(NAMES) - {name}, PROXIES.__contains__)
    assert read((name, "\x00"), reader=reader) == NOTHING


# Properties

ADDRESSES = st.ip_addresses().map(str) | st.sampled_from(sorted(PROXIES))


@given(
    st.text("01259acF.:", max_size=20) | st.ip_addresses().map(str) | st.ip_addresses(v=6).map(lambda ip: ip.exploded)
)
def test_an_address_is_what_the_standard_library_takes_for_one(text: str) -> None:
    """Nothing, and a port behind an IPv4 address, aside."""
    try:
        expected = ipaddress.ip_address(text)
    except ValueError:
        if not re.fullmatch(r"|[0-9.]+:[0-9]+", text):
            with pytest.raises(BadRequest):
                client(text)
    else:
        assert client(text) == (str(getattr(expected, "ipv4_mapped", None) or expected), "")


@given(st.lists(ADDRESSES, min_size=1, max_size=6), st.sampled_from(["", "evil, ", '"', "203.0.113.1,"]))
def test_both_families_walk_alike(addresses: list[str], left: str) -> None:
    """The model: from the right, the first that is not trusted; or the leftmost, if all are."""
    plain = [str(getattr(ip, "ipv4_mapped", None) or ip) for ip in map(ipaddress.ip_address, addresses)]
    strangers = [address for address in plain if address not in PROXIES]
    expected = strangers[-1] if strangers else plain[0]
    quoted = ", ".join(f'for="[{each}]"' if ":" in each else f"for={each}" for each in addresses)
    assert client(quoted, "forwarded")[0] == expected
    prefix = left if strangers else ""  # what a client writes changes nothing
    assert client(prefix + "," + ",".join(addresses))[0] == expected


@given(st.text(st.characters(codec="latin-1"), max_size=60), st.sampled_from(NAMES))
def test_whatever_comes_is_read_or_refused(value: str, name: str) -> None:
    try:
        said = read((name, value.strip(" \t")))
    except (BadRequest, HeaderFieldsTooLarge):
        return
    if said.address:
        ipaddress.ip_address(said.address)
    assert said.scheme in (None, "http", "https")
    assert not said.prefix.startswith("//")
    assert said.prefix == "" or said.prefix[0] == "/"
    for text in (said.host, said.prefix, said.port, said.server_port):
        assert text is None or not set(text) & set('\r\n\x00<>"\\')


@given(st.text(st.sampled_from('for=;,"\\ 10.2[:]_unkw'), max_size=40))
def test_a_client_cannot_hide_what_its_proxy_adds(left: str) -> None:
    """Whatever the client writes, the proxy's element counts, or the request is refused."""
    for added in ("for=192.0.2.1", 'for="[2001:db8::9]:4711"'):
        try:
            said = read(("forwarded", f"{left}, {added}"))
        except (BadRequest, HeaderFieldsTooLarge):
            continue
        assert said.address in {"192.0.2.1", "2001:db8::9"}
