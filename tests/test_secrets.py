"""What is secret in a setting is nowhere shown: not in a repr, a report, an error, a log or a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from greenserve.errors import ConfigurationError
from greenserve.net.bind_errors import who_listens
from greenserve.settings import Settings, conceal, conceal_url, resolve
from tests.conftest import unused_port
from tests.e2e.server_process import ServerProcess, run_command

SECRET = "s3cr3t"

SHOWN = {
    "redis://h:1/0": "redis://h:1/0",
    "redis://h:1/0?prefix=shop&db=2": "redis://h:1/0?prefix=shop&db=2",
    "redis://:s3cr3t@h:1/0": "redis://:***@h:1/0",
    "redis://ada:s3cr3t@h:1/0": "redis://ada:***@h:1/0",
    "redis://s3cr3t@h:1/0": "redis://***@h:1/0",  # a user in fact, but it may be meant as the password
    "rediss://ada:s3cr3t%40x@h/0?ssl_ca_certs=s3cr3t": "rediss://ada:***@h/0?ssl_ca_certs=***",
    "redis://h:1/0?password=s3cr3t": "redis://h:1/0?password=***",
    "redis://h:1/0?db=1&password=s3cr3t&prefix=p": "redis://h:1/0?db=1&password=***&prefix=p",
    "redis://h:1/0?s3cr3t-name=s3cr3t": "redis://h:1/0?s3cr3t-name=***",
    "redis://ada:s3c@r3t@h:1/0": "redis://ada:***@h:1/0",
    "Redis://u:s3cr3t@h/0": "redis://u:***@h/0",
    "REDISS://u:s3cr3t@h/0": "rediss://u:***@h/0",
    "unix:/a@b": "unix:/a@b",
    "unix:a&b=c#d": "unix:a&b=c#d",
}
REFUSED = [
    "redis://:s3cr3t/x@h:1/0",
    "redis://:x/s3cr3t@h:1/0",
    "redis://:x?s3cr3t@h:1/0",
    "redis://:x#s3cr3t@h:1/0",
    "redis://h/0?password=x@s3cr3t",
    "redis://h/0#s3cr3t",
    "redis://ada:s3cr3t",
    "redis://ada:123:s3cr3t",
    "redis://:s3cr3t@",
    "redis://:s3cr3t@[::1",
    "redis://h:s3cr3t/0",
    "redis://:\u2100s3cr3t@h",
    "redis:s3cr3t@h",
    "redis:/:s3cr3t@h/0",
    "redis//:s3cr3t@h/0",
    "http://:s3cr3t@h",
    "amqp://guest:s3cr3t@h/?password=s3cr3t",
    "://:s3cr3t@h",
    ":s3cr3t@h:6379",
    "h:6379,password=s3cr3t",
    "s3cr3t",
    "unix://:s3cr3t@/run/redis.sock?db=1",
    "unix://s3cr3t@h/0",
]


@pytest.mark.parametrize("given", SHOWN)
def test_what_is_shown_of_a_bus(given: str) -> None:
    settings = Settings.from_kwargs(rooms=given)
    assert settings.shown()["rooms"] == SHOWN[given]
    for text in (repr(settings), f"{settings.rooms!r}", str(settings.shown())):
        assert SECRET not in text.replace("s3cr3t-name", "")
    assert settings.rooms is not None
    assert settings.rooms.lower() == given.lower()  # whole where it is used


@pytest.mark.parametrize("given", REFUSED)
def test_a_mistyped_bus_is_named_without_its_secrets(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_kwargs(rooms=given)
    text = "".join(traceback.format_exception(caught.value))
    assert SECRET not in text
    assert "rooms = '" in str(caught.value)


@pytest.mark.parametrize("value", [b"redis://:s3cr3t@h", ["redis://:s3cr3t@h"], {"password": "s3cr3t"}])
def test_nor_is_what_is_no_text(value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_kwargs(rooms=value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("option", ["bind", "max_body", "access_log_format", "ws_origin"])
def test_a_url_in_the_place_of_another_value_keeps_its_password(option: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_kwargs(**{option: "redis://:s3cr3t@h:1/0"})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("source", ["environment", "file"])
def test_the_other_sources_name_where_it_stands_and_not_what(tmp_path: Path, source: str) -> None:
    bad = "redis://:x/s3cr3t@h"
    environ = {"GREENSERVE_ROOMS": bad} if source == "environment" else {}
    (tmp_path / "greenserve.toml").write_text("" if environ else f'rooms = "{bad}"\n')
    with pytest.raises(ConfigurationError) as caught:
        resolve({}, environ, tmp_path)
    assert SECRET not in str(caught.value)
    assert ("GREENSERVE_ROOMS" if environ else "greenserve.toml") in str(caught.value)


def test_check_shows_none() -> None:
    for form in ([], ["--json"]):
        done = run_command("check", "examples.hello_wsgi:app", *form, "--rooms", "redis://:s3cr3t@h/0?password=s3cr3t")
        assert SECRET not in done.stdout + done.stderr
        assert "redis://:***@h/0?password=***" in done.stdout
    assert json.loads(done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["app:app", "--rooms", "redis://:x/s3cr3t@h"],
        ["app:app", "--rooms=http://:s3cr3t@h"],
        ["app:app", "--room", "redis://:s3cr3t@h"],
        ["app:app", "--room=redis://:s3cr3t@h"],
        ["app:app", "redis://:s3cr3t@h"],
        ["redis://:s3cr3t@h"],
        ["app:app", "--bind", "redis://:s3cr3t@h"],
        ["app:app", "--redis-password=s3cr3t"],
    ],
)
def test_no_error_of_the_command_repeats_one(arguments: list[str]) -> None:
    done = run_command(*arguments)
    assert done.returncode in (2, 3)
    assert SECRET not in done.stdout + done.stderr


def test_nor_do_the_logs_of_a_bus_that_cannot_be_reached(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    port = unused_port()
    url = f"redis://ada:s3cr3t@127.0.0.1:{port}/0?password=s3cr3t"
    with ServerProcess("examples.hello_wsgi:app", "--rooms", url, "--log-level", "debug") as server:
        server.wait_for_line(rf"no connection to redis://127.0.0.1:{port}/0 ")
    assert SECRET not in server.output


def test_a_parameter_that_redis_py_does_not_know_is_named_without_its_value() -> None:
    pytest.importorskip("redis")
    done = run_command("examples.hello_wsgi:app", "--bind", "127.0.0.1:0", "--rooms", "redis://:s3cr3t@h/0?pass=s3cr3t")
    assert done.returncode == 2
    assert "'pass'" in done.stderr
    assert "listening" not in done.stderr  # it is said before
    assert SECRET not in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_nor_does_the_command_line_of_whoever_has_the_port() -> None:
    code = (
        "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen();"
        "print(s.getsockname()[1], flush=True); time.sleep(60)"
    )
    arguments = ["redis://:s3cr3t@h", "--token=s3cr3t", "--db-password", "s3cr3t", "x"]
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        said = who_listens("127.0.0.1", port)
        holder.kill()
    assert said is not None
    assert str(holder.pid) in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("python app.py --rooms redis://:a@h", "python app.py --rooms redis://***@h"),
        ("--password x --db=1", "--password *** --db=1"),
        ("--db-password=x&y", "--db-password=***&y"),
        ("SECRET_KEY=x python monkey.py token", "SECRET_KEY=*** python monkey.py token"),
        ("https://h/?api_key=x&a=b", "https://h/?api_key=***&a=b"),
        ("https://h/a?b=c", "https://h/a?b=c"),
    ],
)
def test_free_text(text: str, shown: str) -> None:
    assert conceal(text) == shown


def test_a_url_that_is_none_is_hidden_whole() -> None:
    assert conceal_url("anything") == "***"
