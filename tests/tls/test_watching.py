"""Certificates are renewed while the server runs: loaded whole, checked, and else refused, once, with the reason."""

from __future__ import annotations

import gc
import logging
import os
import ssl
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from greenserve.settings import Settings
from greenserve.tls import Contexts
from greenserve.tls.certificates import Pair
from greenserve.tls.contexts import AHEAD, DAY
from greenserve.tls.watching import FileWatch
from tests.tls.authority import Authority, Issued
from tests.tls.handshake import client_context, names_shown, shake_hands


class Running:
    """Contexts as a server has them, which looks at its files; and how late it is there."""

    def __init__(self, *pairs: Pair, **options: Any) -> None:
        self.late = 0.0  # seconds
        settings = Settings.from_kwargs(
            tls_cert=[pair.certificate for pair in pairs], tls_key=[pair.key for pair in pairs], **options
        )
        self.contexts = Contexts(settings, lambda: time.time() + self.late)

    def seconds_pass(self, count: int = 2) -> None:
        for _ in range(count):
            self.contexts.refresh()


def replace(path: str, content: bytes) -> None:
    """As certbot does it: whole, by a rename."""
    Path(path + ".new").write_bytes(content)
    os.replace(path + ".new", path)


def renew(pair: Pair, issued: Issued) -> None:
    replace(pair.certificate, issued.certificate)
    replace(pair.key, issued.key)


@pytest.fixture
def client(authority: Authority) -> ssl.SSLContext:
    return client_context(authority.file)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_renewed_pair_is_for_new_connections_and_other_pairs_keep_their_tickets(
    authority: Authority, tmp_path: Path, client: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = authority.issue("a.example").write(tmp_path, "a")
    second = authority.issue("b.example").write(tmp_path, "b")
    server = Running(first, second)
    default = server.contexts.context()
    open_since = shake_hands(server.contexts, client, "b.example")
    renew(second, authority.issue("b.example", "new.example"))
    server.seconds_pass()
    assert names_shown(server.contexts, client, "b.example") == ("b.example", "new.example")
    assert names_shown(server.contexts, client, "new.example") == ("b.example", "new.example")
    assert server.contexts.context() is default
    open_since[1].write(b"y")
    assert open_since[0].read(1) == b"y", "connections that are open go on"
    assert [f"the certificate {second} was renewed" in text for text in caplog.messages] == [True]
    renew(first, authority.issue("a.example", "third.example"))
    server.seconds_pass()
    assert server.contexts.context() is not default
    assert names_shown(server.contexts, client, "third.example") == ("a.example", "third.example")


def test_a_symbolic_link_that_is_swapped_is_a_change(
    authority: Authority, tmp_path: Path, client: ssl.SSLContext
) -> None:
    """As Kubernetes has it: tls.crt -> ..data/tls.crt, ..data -> ..DATE."""
    for number, names in enumerate((("a.example",), ("a.example", "new.example"))):
        (tmp_path / f"..{number}").mkdir()
        authority.issue(*names).write(tmp_path / f"..{number}", "tls")
    (tmp_path / "..data").symlink_to("..0")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    server = Running(Pair(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")))
    (tmp_path / "..next").symlink_to("..1")
    os.replace(tmp_path / "..next", tmp_path / "..data")
    server.seconds_pass()
    assert names_shown(server.contexts, client, "a.example") == ("a.example", "new.example")


def test_a_key_that_follows_its_certificate_within_a_second_is_awaited(
    authority: Authority, tmp_path: Path, client: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    server = Running(pair)
    issued = authority.issue("a.example", "new.example")
    replace(pair.certificate, issued.certificate)
    server.seconds_pass(1)
    replace(pair.key, issued.key)
    server.seconds_pass(1)
    assert names_shown(server.contexts, client, "a.example") == ("a.example",)
    server.seconds_pass(1)
    assert names_shown(server.contexts, client, "a.example") == ("a.example", "new.example")
    assert errors(caplog) == []


def test_a_pair_that_cannot_come_into_use_is_not_said_to_be_renewed(
    authority: Authority, tmp_path: Path, client: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pair = authority.issue("a.example").write(tmp_path, "a")
    devices = tmp_path / "devices.pem"
    devices.write_bytes(Path(authority.file).read_bytes())
    server = Running(pair, tls_client_ca=str(devices), tls_client_verify="optional")
    renew(pair, authority.issue("a.example", "new.example"))
    replace(str(devices), b"nothing")
    server.seconds_pass()
    assert names_shown(server.contexts, client, "a.example") == ("a.example",)
    assert [text for text in caplog.messages if "was renewed" in text] == []
    replace(str(devices), Path(authority.file).read_bytes())
    server.seconds_pass()
    assert names_shown(server.contexts, client, "a.example") == ("a.example", "new.example")


def test_an_unusable_pair_is_refused_once_and_the_old_one_stays(
    authority: Authority, tmp_path: Path, client: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    server = Running(pair)
    issued = authority.issue("a.example", "new.example")
    old = authority.issue("a.example", days=-1, age=9)

    def change(certificate: bytes | None, key: bytes | None, why: str) -> None:
        for path, content in ((pair.certificate, certificate), (pair.key, key)):
            if content is None:
                Path(path).unlink(missing_ok=True)
            else:
                replace(path, content)
        caplog.clear()
        server.seconds_pass(5)
        assert [why in text and "What was in use stays in use" in text for text in errors(caplog)] == [True]
        assert names_shown(server.contexts, client, "a.example") == ("a.example",)

    change(issued.certificate, Path(pair.key).read_bytes(), "does not belong to the certificate")
    change(issued.certificate[:100], issued.key, "has no certificate")
    change(None, issued.key, "does not exist")
    change(old.certificate, old.key, "expired on")
    change(issued.certificate, None, "does not exist")
    replace(pair.key, issued.key)
    server.seconds_pass()
    assert names_shown(server.contexts, client, "a.example") == ("a.example", "new.example")


def test_one_unusable_pair_does_not_hold_up_another(
    authority: Authority, tmp_path: Path, client: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    first = authority.issue("a.example").write(tmp_path, "a")
    second = authority.issue("b.example").write(tmp_path, "b")
    server = Running(first, second)
    replace(first.key, b"")
    renew(second, authority.issue("b.example", "new.example"))
    server.seconds_pass()
    assert len(errors(caplog)) == 1
    assert names_shown(server.contexts, client, "a.example") == ("a.example",)
    assert names_shown(server.contexts, client, "new.example") == ("b.example", "new.example")


def test_of_two_pairs_for_one_name_an_unusable_one_leaves_both_as_they_were(
    authority: Authority, tmp_path: Path, client: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    first = authority.issue("a.example", rsa=True).write(tmp_path, "a")
    second = authority.issue("a.example").write(tmp_path, "b")
    server = Running(first, second)
    Path(second.key).unlink()
    renew(first, authority.issue("a.example", rsa=True))
    before = server.contexts.context()
    server.seconds_pass()
    assert server.contexts.context() is before
    assert errors(caplog)
    renew(second, authority.issue("a.example"))
    server.seconds_pass()
    assert server.contexts.context() is not before


def test_authorities_are_renewed_too(authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    other = Authority(tmp_path, "other.pem")
    theirs = client_context(authority.file, other.issue("c@example.com").write(tmp_path, "c"))
    allowed = tmp_path / "allowed.pem"
    allowed.write_bytes(authority.file.read_bytes())
    server = Running(pair, tls_client_ca=str(allowed), tls_client_verify="required")
    with pytest.raises(ssl.SSLError):
        shake_hands(server.contexts, theirs, "a.example")
    replace(str(allowed), b"")
    server.seconds_pass()
    assert ["it is empty" in text for text in errors(caplog)] == [True]
    replace(str(allowed), other.file.read_bytes())
    server.seconds_pass()
    shake_hands(server.contexts, theirs, "a.example")


def test_a_password_is_renewed_with_its_key(authority: Authority, tmp_path: Path, client: ssl.SSLContext) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    (tmp_path / "password").write_text("first\n")
    server = Running(pair, tls_key_password_file=str(tmp_path / "password"))
    issued = authority.issue("a.example", "new.example")
    renew(pair, Issued(issued.certificate, encrypted(issued.key, b"second")))
    replace(str(tmp_path / "password"), b"second\n")
    server.seconds_pass()
    assert names_shown(server.contexts, client, "a.example") == ("a.example", "new.example")


def encrypted(key: bytes, password: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tickets_have_new_keys_each_day(
    authority: Authority, tmp_path: Path, client: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    client.maximum_version = version
    server = Running(
        authority.issue("a.example").write(tmp_path, "a"), authority.issue("b.example").write(tmp_path, "b")
    )

    def resumed(session: ssl.SSLSession | None) -> tuple[bool | None, ssl.SSLSession | None]:
        ours, theirs = shake_hands(server.contexts, client, "b.example", session)
        return theirs.session_reused, ours.session

    _, session = resumed(None)
    server.late = 0.9 * DAY
    server.seconds_pass()
    reused, session = resumed(session)
    assert reused
    server.late = 1.1 * DAY
    server.seconds_pass()
    reused, session = resumed(session)
    assert not reused
    server.seconds_pass()
    assert resumed(session)[0]


@pytest.mark.parametrize("days", [1, 3, AHEAD])
def test_what_was_made_ahead_is_in_use_on_its_day(authority: Authority, tmp_path: Path, days: int) -> None:
    """So that processes that were forked, whenever that was, have the same keys on the same day."""
    server = Running(
        authority.issue("a.example").write(tmp_path, "a"), authority.issue("b.example").write(tmp_path, "b")
    )
    server.contexts.make_ahead()
    ahead = list(server.contexts._ahead[1])
    server.late = (days + 0.5) * DAY
    server.seconds_pass()
    assert server.contexts.context() is ahead[days - 1]
    server.late = (days + 0.9) * DAY
    server.seconds_pass()
    assert server.contexts.context() is ahead[days - 1]
    server.late = (days + 1.1) * DAY
    server.seconds_pass()
    assert server.contexts.context() is (ahead[days] if days < AHEAD else server.contexts.context())
    assert server.contexts.context() is not ahead[days - 1]


def test_what_was_made_ahead_of_another_certificate_is_not_used(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    server = Running(pair)
    server.contexts.make_ahead()
    renew(pair, authority.issue("a.example"))
    server.seconds_pass()
    server.late = 1.1 * DAY
    server.seconds_pass()
    assert server.contexts.context() not in server.contexts._ahead[1]
    assert len(server.contexts._ahead[1]) == AHEAD


def test_a_pair_that_cannot_be_read_any_more_keeps_its_tickets(
    authority: Authority, tmp_path: Path, client: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.issue("a.example").write(tmp_path, "a")
    server = Running(pair)
    before = server.contexts.context()
    Path(pair.key).unlink()
    server.seconds_pass()
    caplog.clear()
    server.late = 1.1 * DAY
    server.seconds_pass()
    assert ["does not exist" in text for text in errors(caplog)] == [True]
    assert server.contexts.context() is before
    shake_hands(server.contexts, client, "a.example")


def test_a_context_that_is_not_in_use_any_more_is_freed_at_once(authority: Authority, tmp_path: Path) -> None:
    first = authority.issue("a.example").write(tmp_path, "a")
    server = Running(first, authority.issue("b.example").write(tmp_path, "b"))
    contexts = [weakref.ref(context) for _, context in server.contexts._made.values()]
    gc.disable()
    try:
        for _ in range(3):
            renew(first, authority.issue("a.example"))
            server.seconds_pass()
            contexts += [weakref.ref(context) for _, context in server.contexts._made.values()]
        alive = {id(context()) for context in contexts if context() is not None}
        assert (len(alive), sum(context() is None for context in contexts)) == (2, 3)
    finally:
        gc.enable()


def test_what_expires_is_said_at_the_start_and_once_a_day(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.issue("a.example", days=16).write(tmp_path, "a")
    server = Running(pair)

    def said(days: float, count: int = 3) -> list[str]:
        caplog.clear()
        server.late += days * DAY
        server.seconds_pass(count)
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    assert said(0) == []
    assert [f"the certificate {pair} expires in 14 days, on " in text for text in said(2.1)] == [True]
    assert said(0.9) == []
    assert ["expires in 12 days" in text for text in said(1.2)] == [True]
    assert ["expires in 12 hours" in text for text in said(11.3)] == [True]
    assert ["has expired on" in text and "renew it" in text for text in said(5)] == [True]
    again = Running(authority.issue("a.example", days=3).write(tmp_path, "b"))
    caplog.clear()
    again.seconds_pass(1)
    assert ["expires in 3 days" in text for text in caplog.messages] == [True]


def test_a_certificate_without_names_is_said(tmp_path: Path, authority: Authority) -> None:
    from tests.tls.test_certificates import openssl

    pair = Pair(str(tmp_path / "n.crt"), str(tmp_path / "n.key"))
    files = ("-out", pair.certificate, "-keyout", pair.key)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-subj", "/CN=a.example", *files)
    assert ["has no subjectAltName" in note for note in Running(pair).contexts.notes()] == [True]


def test_a_change_counts_once_nothing_has_changed_for_a_look(tmp_path: Path) -> None:
    path = tmp_path / "file"
    watch = FileWatch([str(path)])
    assert not watch.has_changed()
    path.write_text("1")
    assert [watch.has_changed() for _ in range(4)] == [False, True, False, False]
    path.write_text("22")
    assert not watch.has_changed()
    path.write_text("333")
    assert [watch.has_changed() for _ in range(3)] == [False, True, False]
    path.unlink()
    assert [watch.has_changed() for _ in range(3)] == [False, True, False]
