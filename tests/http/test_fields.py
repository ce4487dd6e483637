"""What a header section says: names and values, Connection, Expect, Upgrade; and what HTTP/1.0 makes of it."""

from __future__ import annotations

import pytest

from .support import one_head


def fields_with(*lines: str, version: str = "1.1"):
    head = "".join(f"{line}\r\n" for line in ("Host: a", *lines))
    return one_head(f"GET / HTTP/{version}\r\n{head}\r\n".encode("latin-1")).fields


def test_get_joins_repeated_fields_in_order():
    fields = fields_with("X: 1", "Y: 2", "x: 3")
    assert fields.get("x") == "1, 3"
    assert fields.get("y") == "2"
    assert fields.get("z") is None
    assert fields.get("z", "none") == "none"
    assert fields.items == (("host", "a"), ("x", "1"), ("y", "2"), ("x", "3"))


@pytest.mark.parametrize("value", ["100-continue", "100-Continue", " 100-continue ,"])
def test_100_continue(value):
    assert fields_with(f"Expect: {value}").expect_continue


@pytest.mark.parametrize("line", ["Expect: 100-continue", "Connection: upgrade\r\nUpgrade: websocket"])
def test_http_1_0_knows_none_of_the_two_alone(line):
    old = fields_with(line, version="1.0")
    assert not old.expect_continue
    assert not old.upgrade


def test_http_1_0_knows_neither_100_continue_nor_upgrade():
    lines = ("Expect: 100-continue", "Connection: upgrade, keep-alive", "Upgrade: websocket")
    old = fields_with(*lines, version="1.0")
    assert not old.expect_continue
    assert old.upgrade == ()
    assert old.keep_alive
    new = fields_with(*lines)
    assert new.expect_continue
    assert new.upgrade == ("websocket",)


def test_upgrade_counts_only_when_connection_names_it():
    assert fields_with("Upgrade: websocket").upgrade == ()
    assert fields_with("Connection: keep-alive, Upgrade", "Upgrade: WebSocket, h2c/1").upgrade == ("websocket", "h2c/1")
    assert fields_with("Connection: x", "Connection: upgrade", "Upgrade: a", "Upgrade: b").upgrade == ("a", "b")
    assert fields_with("Connection: upgrade").upgrade == ()


def test_connection_options():
    assert fields_with("Connection: Close").close
    assert not fields_with("Connection: keep-alive").close
    assert fields_with("Connection: keep-alive").keep_alive
    assert not fields_with("X: close").close


def test_no_length_is_not_a_length_of_zero():
    assert fields_with().content_length is None
    assert fields_with("Content-Length: 0").content_length == 0


def test_a_fields_object_says_what_it_holds():
    assert repr(fields_with("X: repr")) == "<Fields (('host', 'a'), ('x', 'repr'))>"
    assert repr(one_head(b"GET /repr HTTP/1.0\r\n\r\n")) == "<RequestHead GET /repr HTTP/1.0>"


def test_a_section_with_a_control_character_is_never_plain():
    assert not fields_with("X: \x01").plain
    assert fields_with("X: y").plain
