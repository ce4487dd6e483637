"""What the environ says of TLS and of a client's certificate, in mod_ssl's names."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.settings import Settings
from greenserve.tls import Contexts
from greenserve.tls.client import client_environ, distinguished_name
from tests.conftest import require_program
from tests.tls.authority import Authority
from tests.tls.handshake import client_context, shake_hands


def environ(authority: Authority, directory: Path, client: ssl.SSLContext, **options: Any) -> dict[str, str]:
    pair = authority.issue("a.example").write(directory, "server")
    made = Contexts(Settings.from_kwargs(tls_cert=pair.certificate, tls_key=pair.key, **options))
    return made.environ(shake_hands(made, client, "a.example")[1])


def asking(authority: Authority, how: str) -> dict[str, str]:
    return {"tls_client_ca": str(authority.file), "tls_client_verify": how}


def test_a_connection_says_version_suite_and_name(authority: Authority, tmp_path: Path) -> None:
    client = client_context(authority.file)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    assert environ(authority, tmp_path, client) == {
        "SSL_PROTOCOL": "TLSv1.2",
        "SSL_CIPHER": "ECDHE-ECDSA-AES128-GCM-SHA256",
        "SSL_SESSION_RESUMED": "Initial",
        "SSL_CLIENT_VERIFY": "NONE",
        "SSL_TLS_SNI": "a.example",
    }


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("how", ["optional", "required"])
def test_a_clients_certificate_is_told_also_when_its_session_is_resumed(
    authority: Authority, tmp_path: Path, how: str, version: ssl.TLSVersion
) -> None:
    pair = authority.issue("device.example", "d@example.com", common_name="Bücher, Inc.").write(tmp_path, "client")
    client = client_context(authority.file, pair)
    client.maximum_version = version
    server = authority.issue("a.example").write(tmp_path, "server")
    made = Contexts(Settings.from_kwargs(tls_cert=server.certificate, tls_key=server.key, **asking(authority, how)))
    ours, theirs = shake_hands(made, client, "a.example")
    found = made.environ(theirs)
    assert found["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert found["SSL_CLIENT_CERT"] == ssl.DER_cert_to_PEM_cert(
        ssl.PEM_cert_to_DER_cert(Path(pair.certificate).read_text())
    )
    assert found["SSL_CLIENT_S_DN_CN"] == "Bücher, Inc."
    assert found["SSL_CLIENT_S_DN"].startswith("CN=Bücher\\, Inc.,OU=")
    assert found["SSL_CLIENT_SAN_DNS_0"] == "device.example"
    assert found["SSL_CLIENT_SAN_Email_0"] == "d@example.com"
    again = made.environ(shake_hands(made, client, "a.example", ours.session)[1])
    assert again == found | {"SSL_SESSION_RESUMED": "Resumed"}


def test_a_client_without_a_certificate_is_served_unless_it_is_required(authority: Authority, tmp_path: Path) -> None:
    client = client_context(authority.file)
    assert environ(authority, tmp_path, client, **asking(authority, "optional"))["SSL_CLIENT_VERIFY"] == "NONE"
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        environ(authority, tmp_path, client, **asking(authority, "required"))


@pytest.mark.parametrize("how", ["optional", "required"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_is_not_valid_ends_the_handshake(
    authority: Authority, tmp_path: Path, how: str, version: ssl.TLSVersion
) -> None:
    stranger = Authority(tmp_path, "stranger.pem").issue("s.example").write(tmp_path, "stranger")
    expired = authority.issue("e.example", days=-1, age=9).write(tmp_path, "expired")
    for pair in (stranger, expired):
        client = client_context(authority.file, pair)
        client.maximum_version = version
        with pytest.raises(ssl.SSLCertVerificationError):
            environ(authority, tmp_path, client, **asking(authority, how))


def test_the_names_are_written_as_openssl_writes_them(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example", common_name=' #a"+,;<>\\ é ').write(tmp_path, "odd")
    shown = ("-subject", "-issuer", "-serial", "-startdate", "-enddate", "-nameopt", "RFC2253,-esc_msb,utf8")
    command = [require_program("openssl"), "x509", "-in", pair.certificate, "-noout", *shown]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    said = dict(line.split("=", 1) for line in printed.splitlines())
    found = environ(authority, tmp_path, client_context(authority.file, pair), **asking(authority, "required"))
    assert {
        "subject": found["SSL_CLIENT_S_DN"],
        "issuer": found["SSL_CLIENT_I_DN"],
        "serial": found["SSL_CLIENT_M_SERIAL"],
        "notBefore": found["SSL_CLIENT_V_START"],
        "notAfter": found["SSL_CLIENT_V_END"],
    } == said


def test_a_name_of_several_values_and_unknown_kinds_is_written_too() -> None:
    name = ((("countryName", "DE"),), (("commonName", "a"), ("userId", "7")), (("dnQualifier", "x"),))
    assert distinguished_name(name) == "dnQualifier=x,CN=a+UID=7,C=DE"
    assert distinguished_name(()) == ""


@given(st.text(max_size=30))
def test_no_value_can_pass_for_another_part_of_the_name(value: str) -> None:
    text = distinguished_name(((("commonName", value),),)).removeprefix("CN=")
    plain, escaped = [], False
    for char in text:
        if escaped or char != "\\":
            assert escaped or char not in ',+;<>"'
            plain.append(char)
        escaped = char == "\\" and not escaped
    assert "".join(plain).replace("00", "\0") == value.replace("00", "\0")


def test_an_empty_certificate_of_a_client_breaks_nothing() -> None:
    assert client_environ({}, b"")["SSL_CLIENT_S_DN"] == ""
