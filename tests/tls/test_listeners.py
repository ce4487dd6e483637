"""Which addresses speak TLS; options that contradict each other are refused with what to write."""

from __future__ import annotations

from typing import Any

import pytest

from greenserve.errors import ConfigurationError
from greenserve.settings import FdAddress, Settings, TcpAddress, UnixAddress, parse_address
from greenserve.tls import check, with_scheme


@pytest.mark.parametrize(
    ("text", "scheme"),
    [("127.0.0.1:1", "https"), ("https://127.0.0.1:1", "https"), ("http://127.0.0.1:1", "http")],
)
def test_with_a_certificate_tcp_speaks_tls_unless_it_says_http(text: str, scheme: str) -> None:
    assert with_scheme(parse_address(text), on=True) == TcpAddress("127.0.0.1", 1, scheme)


def test_without_a_certificate_nothing_changes_and_unix_sockets_stay_plain_in_any_case() -> None:
    for address in (TcpAddress("127.0.0.1", 1), UnixAddress("/a"), FdAddress(3)):
        assert with_scheme(address, on=False) == address
    assert with_scheme(UnixAddress("/a"), on=True) == UnixAddress("/a")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tls_cert": "a.pem"},
        {"tls_cert": "a.pem,b.pem", "tls_key": "a.key,b.key"},
        {"tls_cert": "a.pem", "bind": ["unix:/a", "https://127.0.0.1:1", "http://127.0.0.1:2"]},
        {"tls_cert": "a.pem", "bind": "fd://3"},
        {"tls_cert": "a.pem", "tls_client_ca": "ca.pem", "tls_client_verify": "optional"},
        {"tls_cert": "a.pem", "redirect_https": "127.0.0.1:80", "acme_dir": "/tmp", "redirect_https_port": 443},
        {"tls_cert": "a.pem", "redirect_https": "127.0.0.1:0", "bind": "127.0.0.1:0"},
        {"tls_context": "module:function"},
        {"bind": "http://127.0.0.1:1"},
    ],
)
def test_options_that_fit_together_pass(options: dict[str, Any]) -> None:
    check(Settings.from_kwargs(**options))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"bind": "https://127.0.0.1:1"}, "needs a certificate: add --tls-cert FILE"),
        ({"tls_key": "a.key"}, "tls_key is given, but TLS needs a certificate first"),
        ({"tls_client_ca": "ca.pem", "tls_client_verify": "required"}, "TLS needs a certificate first"),
        ({"redirect_https": "127.0.0.1:80"}, "TLS needs a certificate first"),
        ({"tls_cert": "a.pem", "bind": "unix:/a"}, "no address speaks TLS: unix:/a are plain; add --bind https://"),
        ({"tls_cert": "a.pem", "bind": ["http://127.0.0.1:1", "unix:/a"]}, "no address speaks TLS"),
        ({"tls_cert": "a.pem,b.pem", "tls_key": "a.key"}, "give one key for each certificate"),
        ({"tls_cert": "a.pem", "tls_key": "a.key,b.key"}, "give one key for each certificate"),
        ({"tls_cert": "a.pem", "tls_client_ca": "ca.pem"}, "add --tls-client-verify required"),
        ({"tls_cert": "a.pem", "tls_client_verify": "required"}, "add --tls-client-ca FILE"),
        ({"tls_client_verify": "required"}, "add --tls-client-ca FILE"),
        ({"tls_cert": "a.pem", "acme_dir": "/srv"}, "add --redirect-https HOST:80"),
        ({"tls_cert": "a.pem", "redirect_https_port": 443}, "add --redirect-https HOST:80"),
        ({"tls_cert": "a.pem", "redirect_https": "https://127.0.0.1:80"}, "redirect_https speaks plain HTTP"),
        ({"tls_cert": "a.pem", "bind": ":80", "redirect_https": "0.0.0.0:80"}, "both name 0.0.0.0:80"),
    ],
)
def test_options_that_contradict_each_other_are_refused_with_the_fix(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(Settings.from_kwargs(**options))
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tls_context": "module"}, "module:function"),
        ({"tls_context": "a/b.py:make"}, "does not name a function"),
        ({"tls_ciphers": "A B"}, "is not a list of cipher suites"),
        ({"tls_min_version": "1.1"}, "one of 1.2, 1.3"),
        ({"tls_client_verify": "yes"}, "none, optional, required"),
        ({"tls_cert": ["a.pem", ""]}, "is not a path"),
        ({"redirect_https_port": 0}, "is not a port"),
    ],
)
def test_a_bad_value_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_kwargs(**options)
    assert why in str(caught.value)
    assert next(iter(options)) in str(caught.value)
