"""Which addresses speak TLS, and which options of TLS contradict each other or the addresses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from greenserve.errors import ConfigurationError
from greenserve.settings import Address, Settings, TcpAddress, UnixAddress


def is_on(settings: Settings) -> bool:
    """Whether any address speaks TLS. A function for `tls_context` may bring a certificate of its own."""
    return bool(settings.tls_cert or settings.tls_context)


def with_scheme(address: Address, *, on: bool) -> Address:
    """An address that speaks TLS, with "https" as its scheme; any other as it is.

    on: whether there is a certificate. Then all TCP addresses do that do not begin with http://. Unix sockets never do:
    they are a proxy's way to the server, on the same machine. A descriptor is what it turns out to be bound to.
    """
    if isinstance(address, TcpAddress) and not address.scheme and on:
        return dataclasses.replace(address, scheme="https")
    return address


def check(settings: Settings) -> None:
    """Raises ConfigurationError where the options contradict each other. Reads no certificate."""
    _check_listeners(settings)
    certificates, keys = len(settings.tls_cert), len(settings.tls_key)
    if keys and keys != certificates:
        raise ConfigurationError(
            f"tls_key names {keys} files and tls_cert {certificates}: give one key for each certificate, in the same "
            "order (for a key in its certificate's file, name that file again)"
        )
    if settings.tls_client_ca is not None and settings.tls_client_verify == "none":
        raise ConfigurationError(
            "tls_client_ca has no effect unless clients are asked for a certificate: add --tls-client-verify required "
            "(or optional)"
        )
    if settings.tls_client_verify != "none" and settings.tls_client_ca is None:
        raise ConfigurationError(
            f"tls_client_verify is {settings.tls_client_verify}, but no authority is named whose certificates count: "
            "add --tls-client-ca FILE"
        )
    for name in ("redirect_https_port", "acme_dir"):
        if getattr(settings, name) is not None and settings.redirect_https is None:
            raise ConfigurationError(
                f"{name} belongs to redirect_https, which is missing: add --redirect-https HOST:80, or leave it out"
            )
    if settings.acme_dir is not None and not Path(settings.acme_dir).is_dir():
        raise ConfigurationError(
            f"acme_dir = {settings.acme_dir!r} is not a directory: make it, or name the webroot of the ACME client"
        )


def _check_listeners(settings: Settings) -> None:
    addresses = [with_scheme(address, on=is_on(settings)) for address in settings.bind]
    # What a descriptor is bound to is known when it is opened.
    may_be_tls = [
        each for each in addresses if not isinstance(each, UnixAddress) and getattr(each, "scheme", "") != "http"
    ]
    if is_on(settings):
        if not may_be_tls:
            raise ConfigurationError(
                f"there is a certificate, but no address speaks TLS: {', '.join(map(str, addresses))} are plain; add "
                "--bind https://HOST:PORT, or leave tls_cert and tls_context out"
            )
        if settings.redirect_https is not None:
            _check_redirect(settings.redirect_https, addresses)
        return
    for address in addresses:
        if isinstance(address, TcpAddress) and address.is_secure:
            raise ConfigurationError(f"{address} speaks TLS, which needs a certificate: add --tls-cert FILE")
    for name in ("tls_key", "tls_key_password_file", "tls_client_ca", "redirect_https"):
        if getattr(settings, name):
            raise ConfigurationError(f"{name} is given, but TLS needs a certificate first: add --tls-cert FILE")


def _check_redirect(address: Address, addresses: list[Address]) -> None:
    if isinstance(address, TcpAddress):
        if address.is_secure:
            raise ConfigurationError(f"redirect_https speaks plain HTTP, so {address} cannot be its address")
        taken = {each.place for each in addresses if isinstance(each, TcpAddress) and each.port}
        if address.place in taken:
            raise ConfigurationError(f"redirect_https and bind both name {address.place}: give them different ports")
