"""A pair is read with its names and dates; what is wrong with one is said with the way to put it right."""

from __future__ import annotations

import errno
import os
import pwd
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from greenserve.errors import ConfigurationError
from greenserve.tls.certificates import Pair, check_authorities, read, read_password
from tests.conftest import require_program
from tests.tls.authority import Authority

NAMES = ("a.example", "*.b.example", "127.0.0.1", "::1")


def openssl(*arguments: str) -> None:
    subprocess.run([require_program("openssl"), *arguments], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize("rsa", [True, False])
def test_a_pair_is_read_with_its_names_and_dates(authority: Authority, tmp_path: Path, rsa: bool) -> None:
    pair = authority.issue(*NAMES, rsa=rsa, days=30).write(tmp_path, "a")
    now = time.time()
    found = read(pair, None, now)
    assert found.names == ("a.example", "*.b.example", "127.0.0.1", "::1")
    assert found.not_after - now == pytest.approx(30 * 86400, abs=90)
    assert now - found.not_before == pytest.approx(86400, abs=90)
    assert found.chain == 1


def test_the_key_may_be_in_the_certificates_file_before_or_behind_it(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("a.example")
    for content in (issued.certificate + issued.key, issued.key + issued.certificate):
        (tmp_path / "both.pem").write_bytes(content)
        path = str(tmp_path / "both.pem")
        assert read(Pair(path, path), None, time.time()).names == ("a.example",)


def test_issuers_may_follow_the_certificate(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    Path(pair.certificate).write_bytes(Path(pair.certificate).read_bytes() + authority.file.read_bytes())
    found = read(pair, None, time.time())
    assert (found.names, found.chain) == (("a.example",), 2)


def test_comments_and_windows_line_ends_do_no_harm(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    content = Path(pair.certificate).read_bytes().replace(b"\n", b"\r\n")
    Path(pair.certificate).write_bytes("subject: Bücher\r\n".encode() + content)
    assert read(pair, None, time.time()).names == ("a.example",)


def test_a_certificate_of_another_authority_need_not_be_trusted_here(tmp_path: Path) -> None:
    pair = Authority(tmp_path, "unknown.pem").issue("a.example").write(tmp_path, "a")
    assert read(pair, None, time.time()).names == ("a.example",)


def refusal(pair: Pair, password: bytes | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(pair, password, time.time())
    return str(caught.value)


def test_a_missing_file_is_named_with_the_option(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    assert "nowhere.crt (from tls_cert) cannot be read: it does not exist" in refusal(Pair("nowhere.crt", pair.key))
    assert "nowhere.key (from tls_key) cannot be read" in refusal(Pair(pair.certificate, "nowhere.key"))
    assert "there is no directory no" in refusal(Pair("no/where.crt", pair.key))
    assert "cannot be read: Is a directory" in refusal(Pair(str(tmp_path), pair.key))


def test_a_file_that_may_not_be_read_is_said_with_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:  # root, as which tests may run, may read everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert f"the user {user} may not read it: change its permissions" in refusal(Pair("a.crt", "a.key"))


def test_a_certificate_and_a_key_that_were_swapped_are_told_apart(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    assert "were tls_cert and tls_key swapped?" in refusal(Pair(pair.key, pair.certificate))
    other = authority.issue("b.example").write(tmp_path, "b")
    assert "it has a certificate; name the file with the key" in refusal(Pair(pair.certificate, other.certificate))


def test_a_certificate_without_a_key_asks_for_one(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    assert "has no private key: name its file by --tls-key" in refusal(Pair(pair.certificate, pair.certificate))


@pytest.mark.parametrize("rsa", [True, False])
def test_a_key_of_another_certificate_is_refused(authority: Authority, tmp_path: Path, rsa: bool) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    other = authority.issue("b.example", rsa=rsa).write(tmp_path, "b")
    assert "does not belong to the certificate" in refusal(Pair(pair.certificate, other.key))


def test_a_chain_that_begins_with_the_issuer_is_explained(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    Path(pair.certificate).write_bytes(authority.file.read_bytes() + Path(pair.certificate).read_bytes())
    assert "stand first in its file, before its issuers" in refusal(pair)


def test_der_is_told_how_to_become_pem(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    der = str(tmp_path / "a.der")
    Path(der).write_bytes(ssl.PEM_cert_to_DER_cert(Path(pair.certificate).read_text()))
    assert f"it is DER; convert it to PEM: openssl x509 -inform DER -in {der}" in refusal(Pair(der, pair.key))
    openssl("x509", "-inform", "DER", "-in", der, "-out", pair.certificate)  # the command that the text names
    assert read(pair, None, time.time()).names == ("a.example",)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"hello", "PEM is wanted, text with a line -----BEGIN CERTIFICATE-----"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAA\n-----END CERTIFICATE REQUEST-----\n", "it is a request"),
    ],
)
def test_what_is_not_a_certificate_is_named(authority: Authority, tmp_path: Path, content: bytes, why: str) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    Path(pair.certificate).write_bytes(content)
    assert why in refusal(pair)


def test_a_form_of_openssls_own_is_told_how_to_become_pem(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    openssl("x509", "-in", pair.certificate, "-trustout", "-out", str(tmp_path / "own.crt"))
    own = Pair(str(tmp_path / "own.crt"), pair.key)
    assert f"convert it: openssl x509 -in {own} -out FILE.pem" in refusal(own)
    openssl("x509", "-in", own.certificate, "-out", pair.certificate)
    assert read(pair, None, time.time()).names == ("a.example",)


def test_half_a_file_is_refused(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("a.example")
    pair = issued.write(tmp_path, "a")
    for size in range(0, len(issued.certificate) - 1, 97):
        Path(pair.certificate).write_bytes(issued.certificate[:size])
        assert str(tmp_path) in refusal(pair)
    Path(pair.certificate).write_bytes(issued.certificate)
    for size in range(0, len(issued.key) - 30, 13):
        Path(pair.key).write_bytes(issued.key[:size])
        assert str(tmp_path) in refusal(pair)


def test_dates_are_judged(authority: Authority, tmp_path: Path) -> None:
    assert "expired on" in refusal(authority.issue("a.example", days=-1, age=9).write(tmp_path, "old"))
    early = refusal(authority.issue("a.example", age=-1).write(tmp_path, "new"))
    assert "not valid before" in early
    assert "correct this machine's clock" in early


def test_an_encrypted_key_needs_its_password(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example", rsa=True).write(tmp_path, "a")
    for form in ("-traditional", ""):
        secret = str(tmp_path / "secret.key")
        openssl("rsa", "-aes256", "-passout", "pass:bücher", "-in", pair.key, "-out", secret, *form.split())
        closed = Pair(pair.certificate, secret)
        assert "is encrypted: name a file with its password by --tls-key-password-file" in refusal(closed)
        assert "is the password in tls_key_password_file the right one?" in refusal(closed, b"guess")
        (tmp_path / "password").write_bytes("bücher\n".encode())
        password = read_password(str(tmp_path / "password"))
        assert read(closed, password, time.time()).names == ("a.example",)
        assert read(pair, password, time.time()).names == ("a.example",), "the password of another key does no harm"


@pytest.mark.parametrize("content", [b"", b"\nsecret\n", b"\r\n"])
def test_a_password_that_is_empty_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "password").write_bytes(content)
    with pytest.raises(ConfigurationError, match="is empty"):
        read_password(str(tmp_path / "password"))


def test_a_weak_key_is_refused_with_the_way_out(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path / "weak.crt"), str(tmp_path / "weak.key"))
    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:1024",
        "-nodes",
        "-subj",
        "/CN=weak",
        "-out",
        pair.certificate,
        "-keyout",
        pair.key,
    )
    assert "too weak for OpenSSL" in refusal(pair)


def test_a_certificate_that_is_not_for_servers_is_refused(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path / "c.crt"), str(tmp_path / "c.key"))
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=c"),
        *("-addext", "extendedKeyUsage=clientAuth", "-out", pair.certificate, "-keyout", pair.key),
    )
    assert "have one made for a server" in refusal(pair)


def test_authorities_must_have_certificates(authority: Authority, tmp_path: Path) -> None:
    check_authorities(str(authority.file))
    pair = authority.issue("a.example").write(tmp_path, "a")
    for path, why in ((pair.key, "has no certificates: PEM is wanted"), ("nowhere.pem", "does not exist")):
        with pytest.raises(ConfigurationError, match=why):
            check_authorities(path)
