"""The context of each connection: the certificate for its name, the versions and suites of the profile, resumption."""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from greenserve.errors import ConfigurationError, LoadError
from greenserve.settings import Settings
from greenserve.tls import Contexts
from greenserve.tls.certificates import Pair
from tests.tls.authority import Authority
from tests.tls.handshake import client_context, names_shown, shake_hands


def contexts(*pairs: Pair, **options: Any) -> Contexts:
    return Contexts(
        Settings.from_kwargs(
            tls_cert=[pair.certificate for pair in pairs], tls_key=[pair.key for pair in pairs], **options
        )
    )


def test_each_name_is_shown_its_certificate_and_others_the_first(authority: Authority, tmp_path: Path) -> None:
    made = contexts(
        authority.issue("a.example").write(tmp_path, "a"),
        authority.issue("b.example", "*.w.example").write(tmp_path, "b"),
        authority.issue("x.w.example", rsa=True).write(tmp_path, "x"),
    )
    client = client_context(authority.file)
    assert names_shown(made, client, "a.example") == ("a.example",)
    assert names_shown(made, client, "b.example") == ("b.example", "*.w.example")
    assert names_shown(made, client, "y.w.example") == ("b.example", "*.w.example")
    assert names_shown(made, client, "x.w.example") == ("x.w.example",)
    assert names_shown(made, client, None) == ("a.example",)
    with pytest.raises(ssl.SSLCertVerificationError):
        names_shown(made, client_context(authority.file), "unknown.example")


@pytest.mark.parametrize("rsa_first", [True, False])
def test_one_name_may_have_certificates_of_two_kinds_of_keys(
    authority: Authority, tmp_path: Path, rsa_first: bool
) -> None:
    made = contexts(
        authority.issue("a.example", rsa=rsa_first).write(tmp_path, "1"),
        authority.issue("a.example", rsa=not rsa_first).write(tmp_path, "2"),
    )
    for kind in ("ECDSA", "RSA"):
        client = client_context(authority.file)
        client.maximum_version = ssl.TLSVersion.TLSv1_2  # where the suite names the kind of the key
        client.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
        ours, _ = shake_hands(made, client, "a.example")
        assert ours.cipher() == (f"ECDHE-{kind}-AES128-GCM-SHA256", "TLSv1.2", 128)


def test_of_two_certificates_of_one_kind_for_a_name_the_first_is_shown(authority: Authority, tmp_path: Path) -> None:
    made = contexts(
        authority.issue("a.example", "first.example").write(tmp_path, "1"),
        authority.issue("a.example", "second.example").write(tmp_path, "2"),
    )
    client = client_context(authority.file)
    assert names_shown(made, client, "a.example") == ("a.example", "first.example")
    assert names_shown(made, client, "second.example") == ("a.example", "second.example")


def test_the_profile_is_mozillas_intermediate_one(authority: Authority, tmp_path: Path) -> None:
    context = contexts(authority.issue("a.example").write(tmp_path, "a")).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert names == {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        *(f"ECDHE-{kind}-{end}" for kind in ("ECDSA", "RSA") for end in ("AES128-GCM-SHA256", "AES256-GCM-SHA384")),
        *(f"ECDHE-{kind}-CHACHA20-POLY1305" for kind in ("ECDSA", "RSA")),
    }
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


def test_the_client_chooses_among_the_suites(authority: Authority, tmp_path: Path) -> None:
    made = contexts(authority.issue("a.example").write(tmp_path, "a"))
    for suite in ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384"):
        client = client_context(authority.file)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(f"{suite}:ECDHE-ECDSA-AES128-GCM-SHA256")
        cipher = shake_hands(made, client, "a.example")[0].cipher()
        assert cipher is not None
        assert cipher[0] == suite


def test_http_1_1_is_agreed_by_alpn(authority: Authority, tmp_path: Path) -> None:
    made = contexts(
        authority.issue("a.example").write(tmp_path, "a"), authority.issue("b.example").write(tmp_path, "b")
    )
    client = client_context(authority.file)
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert shake_hands(made, client, "a.example")[0].selected_alpn_protocol() == "http/1.1"
    assert shake_hands(made, client, "b.example")[0].selected_alpn_protocol() == "http/1.1"


def test_the_lowest_version_and_the_suites_are_settings(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    client = client_context(authority.file)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(contexts(pair, tls_min_version="1.3"), client, "a.example")
    made = contexts(pair, tls_ciphers="ECDHE-ECDSA-AES128-SHA")
    client.set_ciphers("ALL")
    cipher = shake_hands(made, client, "a.example")[0].cipher()
    assert cipher is not None
    assert cipher[0] == "ECDHE-ECDSA-AES128-SHA"
    with pytest.raises(ConfigurationError, match="names no cipher suite that OpenSSL has"):
        contexts(pair, tls_ciphers="HIHG")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["a.example", "b.example"])
def test_a_session_is_resumed_also_in_a_forked_process(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion, name: str
) -> None:
    """By tickets, whose keys are made with the context: before the fork."""
    made = contexts(
        authority.issue("a.example").write(tmp_path, "a"), authority.issue("b.example").write(tmp_path, "b")
    )
    client = client_context(authority.file)
    client.maximum_version = version
    ours, theirs = shake_hands(made, client, name)
    assert made.environ(theirs)["SSL_SESSION_RESUMED"] == "Initial"
    pid = os.fork()
    if pid == 0:
        resumed = shake_hands(made, client, name, ours.session)[1]
        os._exit(made.environ(resumed)["SSL_SESSION_RESUMED"] != "Resumed")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    fresh = contexts(authority.issue("a.example").write(tmp_path, "c"))
    assert not shake_hands(fresh, client, None, ours.session)[1].session_reused, "the ticket of other keys"


def test_a_pair_that_is_given_twice_counts_once(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    assert names_shown(contexts(pair, pair), client_context(authority.file), "a.example") == ("a.example",)


def test_other_errors_that_nobody_can_handle_are_reported_as_before(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __del__(self) -> None:
            raise UnicodeDecodeError("ascii", b"x", 0, 1, "raised here")

    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))
    contexts(authority.issue("a.example").write(tmp_path, "a"))
    Failing()
    assert seen == [UnicodeDecodeError]


# tls_context


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with functions for tls_context."""
    name = f"functions_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(
        """
import ssl

def same(context):
    context.set_alpn_protocols(["own"])
    return context

def other(context):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain("a.crt", "a.key")
    return made

def named(context):
    def refuse(tls, name, context):
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if name == "b.example" else None
    context.sni_callback = refuse
    return context

def forgetful(context):
    context.set_alpn_protocols(["own"])

def failing(context):
    raise ValueError("no engine")

def client(context):
    return ssl.create_default_context()

number = 7
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_function_may_change_the_context(authority: Authority, tmp_path: Path, functions: str) -> None:
    made = contexts(authority.issue("a.example").write(tmp_path, "a"), tls_context=f"{functions}:same")
    client = client_context(authority.file)
    client.set_alpn_protocols(["own"])
    ours, theirs = shake_hands(made, client, "a.example")
    assert ours.selected_alpn_protocol() == "own"
    assert made.environ(theirs)["SSL_TLS_SNI"] == "a.example"


def test_a_function_may_make_a_context_of_its_own_and_be_all_there_is(
    authority: Authority, tmp_path: Path, functions: str
) -> None:
    authority.issue("a.example").write(tmp_path, "a")
    made = Contexts(Settings.from_kwargs(tls_context=f"{functions}:other"))
    assert names_shown(made, client_context(authority.file), "a.example") == ("a.example",)
    made.refresh()


def test_a_functions_own_callback_for_names_stays(authority: Authority, tmp_path: Path, functions: str) -> None:
    made = contexts(authority.issue("a.example", "b.example").write(tmp_path, "a"), tls_context=f"{functions}:named")
    assert "SSL_TLS_SNI" not in made.environ(shake_hands(made, client_context(authority.file), "a.example")[1])
    with pytest.raises(ssl.SSLError):
        shake_hands(made, client_context(authority.file), "b.example")


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("forgetful", "returned None, which is not an ssl.SSLContext; is a `return` missing?"),
        ("failing", "failed: ValueError: no engine"),
        ("client", "returned a client's context"),
        ("number", "it is of type int, not a function"),
        ("sane", "has no attribute 'sane'; did you mean 'same'?"),
    ],
)
def test_a_function_that_is_wrong_is_named(
    authority: Authority, tmp_path: Path, functions: str, function: str, why: str
) -> None:
    with pytest.raises(LoadError) as caught:
        contexts(authority.issue("a.example").write(tmp_path, "a"), tls_context=f"{functions}:{function}")
    assert why in str(caught.value)
    assert "tls_context" in str(caught.value)


def test_a_module_that_is_missing_is_named() -> None:
    with pytest.raises(LoadError, match="tls_context = 'nowhere_at_all:make': there is no module 'nowhere_at_all'"):
        Contexts(Settings.from_kwargs(tls_context="nowhere_at_all:make"))
