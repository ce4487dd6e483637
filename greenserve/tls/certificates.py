"""Certificates and their keys as files: reading, checking, and saying what is wrong with them.

Strategy. OpenSSL loads a pair and says whether the key fits. What is in the certificate is what a client is told: a
handshake in memory, with a client that trusts this very certificate, gives the names and dates by `getpeercert`, and
proves that the pair serves. So no parser of ASN.1 is needed, and none of the standard library's private functions.
"""

from __future__ import annotations

import os
import pwd
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from greenserve.errors import ConfigurationError
from greenserve.tls.names import normal

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of x509_vfy.h: `read` judges the dates itself, with a hint
_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----.+?-----END [A-Z0-9 ]+-----", re.DOTALL)
_LABEL = re.compile(rb"^-----BEGIN ([A-Z0-9 ]+)-----", re.MULTILINE)
_HANDSHAKE_STEPS = 8  # more than any handshake has


@dataclass(frozen=True, slots=True)
class Pair:
    """Where a certificate and its private key are; both PEM, and may be the same file."""

    certificate: str
    key: str

    def __str__(self) -> str:
        return self.certificate


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known of a pair that has been read. Dates are seconds since the epoch.

    names: of its subjectAltName, DNS names and IP addresses, in their order. chain: how many certificates the file has.
    stamp: of the files, from before they were read; so a pair that was renewed is another one.
    """

    pair: Pair
    names: tuple[str, ...]
    not_before: float
    not_after: float
    issuer: str
    chain: int
    stamp: object


def read(pair: Pair, password: bytes | None, now: float) -> Certificate:
    """Read and check a pair. now: seconds since the epoch. Raises ConfigurationError, which names the fix."""
    stamp = stamp_of(pair.certificate), stamp_of(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_into(context, pair, password)
    found = _CERTIFICATE.findall(read_file(pair.certificate, "tls_cert"))
    told = _what_a_client_is_told(context, found[0].decode("ascii", "replace"), pair)
    certificate = Certificate(
        pair=pair,
        names=tuple(
            normal(value.strip())  # of an IPv6 address OpenSSL writes each zero
            for kind, value in told.get("subjectAltName", ())
            if kind in ("DNS", "IP Address")
        ),
        not_before=ssl.cert_time_to_seconds(told["notBefore"]),
        not_after=ssl.cert_time_to_seconds(told["notAfter"]),
        issuer=", ".join(value for name in told["issuer"] for _, value in name),
        chain=len(found),
        stamp=stamp,
    )
    if certificate.not_after < now:
        raise ConfigurationError(f"the certificate {pair} expired on {told['notAfter']}: renew it")
    if certificate.not_before > now:
        raise ConfigurationError(
            f"the certificate {pair} is not valid before {told['notBefore']}: wait, or correct this machine's clock"
        )
    return certificate


def load_into(context: ssl.SSLContext, pair: Pair, password: bytes | None) -> None:
    """Have `context` serve a pair. Raises ConfigurationError."""
    _check_kinds(pair, password)
    try:
        # Never None: then OpenSSL would ask at the terminal.
        context.load_cert_chain(pair.certificate, pair.key, password or b"")
    except (ssl.SSLError, ValueError) as error:
        _explain(pair, error, encrypted=password is not None)
    except OSError as error:
        raise ConfigurationError(f"the certificate {pair} cannot be read: {error.strerror}") from error


def read_file(path: str, option: str) -> bytes:
    """The bytes of a file that `option` names. Raises ConfigurationError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        if isinstance(error, FileNotFoundError):
            parent = Path(path).parent
            where = "" if parent.is_dir() else f" (there is no directory {parent})"
            why = f"it does not exist{where}; relative paths start in {os.getcwd()}"  # noqa: PTH109 - a text is wanted
        elif isinstance(error, PermissionError):
            why = f"the user {_user()} may not read it: change its permissions or its group (chmod, chgrp, setfacl)"
        raise ConfigurationError(f"the file {path} (from {option}) cannot be read: {why}") from error


def stamp_of(path: str) -> object:
    """What tells one content of a file from the next, symbolic links followed; None where there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - once a second, so without an object in between
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_password(path: str | None) -> bytes | None:
    """The first line of `tls_key_password_file`. Raises ConfigurationError."""
    if path is None:
        return None
    line = read_file(path, "tls_key_password_file").partition(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise ConfigurationError(f"the first line of {path} (from tls_key_password_file) is empty")
    return line


def check_authorities(path: str) -> None:
    """Raises ConfigurationError where `tls_client_ca` names a file without certificates."""
    content = read_file(path, "tls_client_ca")
    if not _CERTIFICATE.search(content):
        raise ConfigurationError(
            f"the file {path} (from tls_client_ca) has no certificates: {_instead_of_pem(path, content, 'CERTIFICATE')}"
        )


# -- what is wrong


def _check_kinds(pair: Pair, password: bytes | None) -> None:
    """OpenSSL's "PEM lib" says little; what is in the files says more."""
    content = read_file(pair.certificate, "tls_cert")
    labels = set(_LABEL.findall(content))
    if not _CERTIFICATE.search(content):
        why = _instead_of_pem(pair.certificate, content, "CERTIFICATE")
        if b"CERTIFICATE REQUEST" in labels or b"NEW CERTIFICATE REQUEST" in labels:
            why = "it is a request; name the certificate that the authority made of it"
        elif b"TRUSTED CERTIFICATE" in labels:
            why = f"it is a form of OpenSSL's own; convert it: openssl x509 -in {pair.certificate} -out FILE.pem"
        elif any(label.endswith(b"PRIVATE KEY") for label in labels):
            why = "it has a private key; were tls_cert and tls_key swapped?"
        raise ConfigurationError(f"the file {pair.certificate} (from tls_cert) has no certificate: {why}")
    if pair.key != pair.certificate:
        content = read_file(pair.key, "tls_key")
        labels = set(_LABEL.findall(content))
    if not any(label.endswith(b"PRIVATE KEY") for label in labels):
        if pair.key == pair.certificate:
            raise ConfigurationError(f"the file {pair} (from tls_cert) has no private key: name its file by --tls-key")
        why = (
            "it has a certificate; name the file with the key"
            if labels
            else _instead_of_pem(pair.key, content, "PRIVATE KEY")
        )
        raise ConfigurationError(f"the file {pair.key} (from tls_key) has no private key: {why}")
    if password is None and (b"ENCRYPTED PRIVATE KEY" in labels or b"Proc-Type: 4,ENCRYPTED" in content):
        raise ConfigurationError(
            f"the private key in {pair.key} is encrypted: name a file with its password by --tls-key-password-file, or "
            f"decrypt it (openssl pkey -in {pair.key} -out FILE)"
        )


def _instead_of_pem(path: str, content: bytes, wanted: str) -> str:
    if not content.strip():
        return "it is empty"
    if content[:1] == b"\x30":  # a SEQUENCE of ASN.1
        if path.endswith((".p12", ".pfx")):
            return f"it is PKCS#12; convert it: openssl pkcs12 -in {path} -nodes -out FILE.pem"
        return f"it is DER; convert it to PEM: openssl x509 -inform DER -in {path} -out FILE.pem (a key: openssl pkey)"
    return f"PEM is wanted, text with a line -----BEGIN {wanted}-----"


def _explain(pair: Pair, error: Exception, *, encrypted: bool) -> NoReturn:
    reason = getattr(error, "reason", None)
    if reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED", "KEY_TYPE_MISMATCH"):
        why = (
            f"the private key in {pair.key} does not belong to the certificate in {pair}: name its own key, and have "
            "the server's own certificate stand first in its file, before its issuers"
        )
    elif reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        why = (
            f"a key or a signature in {pair} is too weak for OpenSSL ({reason}): have the certificate made again, with "
            "an EC key on P-256 or an RSA key of 2048 bits, and SHA-256"
        )
    elif encrypted:
        why = f"the private key in {pair.key} cannot be read: is the password in tls_key_password_file the right one?"
    else:
        why = f"OpenSSL cannot read {' and '.join(dict.fromkeys((pair.certificate, pair.key)))}: {error}"
    raise ConfigurationError(why) from error


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


# -- what is in it


def _what_a_client_is_told(server: ssl.SSLContext, leaf: str, pair: Pair) -> dict[str, Any]:
    """`getpeercert` of a client that trusts `leaf` and nothing else. Raises ConfigurationError."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags = ssl.VerifyFlags(client.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.load_verify_locations(cadata=leaf)
        ends = client.wrap_bio(ours, theirs), server.wrap_bio(theirs, ours, server_side=True)
        for step in range(_HANDSHAKE_STEPS):
            try:
                ends[step % 2].do_handshake()
            except ssl.SSLWantReadError:
                pass
        told: dict[str, Any] = ends[0].getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        raise ConfigurationError(
            f"no client would accept the certificate {pair}: {error.verify_message}; have one made for a server "
            "(extendedKeyUsage serverAuth)"
        ) from error
    except (ssl.SSLError, ValueError) as error:  # the files have changed meanwhile, for one
        raise ConfigurationError(f"the certificate {pair} does not serve: {error}") from error
    return told
