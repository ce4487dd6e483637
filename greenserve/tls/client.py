"""What the environ of a request says of TLS: mod_ssl's variables
(https://httpd.apache.org/docs/2.4/mod/mod_ssl.html#envvars).
"""

from __future__ import annotations

import ssl
from typing import Any, TypeAlias

Name: TypeAlias = tuple[tuple[tuple[str, str], ...], ...]

# OpenSSL's long names, as `getpeercert` has them, and what RFC 4514 §3 and mod_ssl call them.
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
_ALTERNATIVES = {"DNS": "DNS", "email": "Email"}


def connection_environ(tls: ssl.SSLObject, server_name: str | None, *, asks: bool) -> dict[str, str]:
    """The entries for all requests of a connection whose handshake is complete. asks: for a client's certificate."""
    cipher = tls.cipher()
    environ = {
        "SSL_PROTOCOL": tls.version() or "",
        "SSL_CIPHER": cipher[0] if cipher is not None else "",
        "SSL_SESSION_RESUMED": "Resumed" if tls.session_reused else "Initial",
        "SSL_CLIENT_VERIFY": "NONE",
    }
    if server_name is not None:
        environ["SSL_TLS_SNI"] = server_name
    if asks:
        shown = tls.getpeercert(binary_form=True)
        if shown is not None:
            environ.update(client_environ(tls.getpeercert() or {}, shown))
    return environ


def client_environ(told: dict[str, Any], encoded: bytes) -> dict[str, str]:
    """The entries for a client's certificate, which OpenSSL has verified; told: `getpeercert`, encoded: DER."""
    subject: Name = told.get("subject", ())
    environ = {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_S_DN": distinguished_name(subject),
        "SSL_CLIENT_I_DN": distinguished_name(told.get("issuer", ())),
        "SSL_CLIENT_M_SERIAL": told.get("serialNumber", ""),
        "SSL_CLIENT_V_START": told.get("notBefore", ""),
        "SSL_CLIENT_V_END": told.get("notAfter", ""),
        "SSL_CLIENT_CERT": ssl.DER_cert_to_PEM_cert(encoded),
    }
    common = [value for part in subject for kind, value in part if kind == "commonName"]
    if common:
        environ["SSL_CLIENT_S_DN_CN"] = common[0]
    counts = dict.fromkeys(_ALTERNATIVES, 0)
    for kind, value in told.get("subjectAltName", ()):
        if kind in counts:
            environ[f"SSL_CLIENT_SAN_{_ALTERNATIVES[kind]}_{counts[kind]}"] = value
            counts[kind] += 1
    return environ


def distinguished_name(name: Name) -> str:
    """A name as text, the last part first (RFC 4514), as mod_ssl has written it since Apache 2.3.11."""
    return ",".join(
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in part) for part in reversed(name)
    )


def _escaped(value: str) -> str:
    """RFC 4514 §2.4."""
    text = "".join(f"\\{char}" if char in '"+,;<>\\' else char if char != "\0" else "\\00" for char in value)
    if text.startswith((" ", "#")):
        text = "\\" + text
    return text[:-1] + "\\ " if text.endswith(" ") and len(value) > 1 else text
