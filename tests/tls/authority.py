"""Certificates for tests, made in a moment: an authority, and pairs of its in files."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from greenserve.tls.certificates import Pair


@dataclass(frozen=True)
class Issued:
    """A certificate and its key in PEM."""

    certificate: bytes
    key: bytes

    def write(self, directory: Path, name: str) -> Pair:
        """Into NAME.crt and NAME.key."""
        pair = Pair(str(directory / f"{name}.crt"), str(directory / f"{name}.key"))
        Path(pair.certificate).write_bytes(self.certificate)
        Path(pair.key).write_bytes(self.key)
        return pair


class Authority:
    """A certificate authority. file: its own certificate."""

    def __init__(self, directory: Path, name: str = "ca.pem") -> None:
        self._authority = trustme.CA()
        self.file = directory / name
        self._authority.cert_pem.write_to_path(self.file)

    def issue(
        self, *names: str, days: float = 90, age: float = 1, rsa: bool = False, common_name: str | None = None
    ) -> Issued:
        """A certificate for `names`, valid from `age` days ago until `days` from now."""
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        made = self._authority.issue_cert(
            *names,
            common_name=common_name,
            not_before=now - datetime.timedelta(days=age),
            not_after=now + datetime.timedelta(days=days),
            key_type=trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA,
        )
        return Issued(b"".join(each.bytes() for each in made.cert_chain_pems), made.private_key_pem.bytes())

    def revoke(self, crl: Path, certificate: Path) -> None:
        """Write a list of revoked certificates that has the one in `certificate`."""
        now = datetime.datetime.now(datetime.UTC)
        key = serialization.load_pem_private_key(self._authority.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        number = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
        revoked = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now).build()
        made = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(x509.load_pem_x509_certificate(self.file.read_bytes()).subject)
            .last_update(now - datetime.timedelta(hours=1))
            .next_update(now + datetime.timedelta(days=1))
            .add_revoked_certificate(revoked)
            .sign(key, hashes.SHA256())
        )
        crl.write_bytes(made.public_bytes(serialization.Encoding.PEM))
