"""Settings: parsed alike from every source, in their order; a value has its origin, an error what to write instead."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ConfigurationError
from greenserve.http.limits import Limits
from greenserve.settings import (
    OPTIONS,
    Access,
    FdAddress,
    Settings,
    Source,
    TcpAddress,
    UnixAddress,
    parse_address,
    resolve,
)
from greenserve.settings.other_servers import WORDS
from tests.conftest import REPOSITORY

# Addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", TcpAddress("127.0.0.1", 8000)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("my_service.internal:80", TcpAddress("my_service.internal", 80)),
        ("[::1]:8000", TcpAddress("::1", 8000)),
        ("[0:0::0:1]:8000", TcpAddress("::1", 8000)),
        ("[fe80::1%eth0]:8000", TcpAddress("fe80::1%eth0", 8000)),
        (":8000", TcpAddress("0.0.0.0", 8000)),
        ("8000", TcpAddress("127.0.0.1", 8000)),
        (" 127.0.0.1:8000 ", TcpAddress("127.0.0.1", 8000)),
        ("unix:/run/app.sock", UnixAddress("/run/app.sock")),
        ("unix:app.sock", UnixAddress("app.sock")),
        ("unix:./@app", UnixAddress("./@app")),
        ("unix:/a?mode=660", UnixAddress("/a", Access(0o660))),
        ("unix:/a?group=www-data&mode=0o006&user=33", UnixAddress("/a", Access(0o006, "33", "www-data"))),
        ("fd://3", FdAddress(3)),
        ("https://[::1]:8443", TcpAddress("::1", 8443, "https")),
        ("http://:80", TcpAddress("0.0.0.0", 80, "http")),
        ("https://8443", TcpAddress("127.0.0.1", 8443, "https")),
    ],
)
def test_an_address_is_parsed(text: str, address: object) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the port is missing"),
        ("localhost", "the port is missing"),
        ("localhost:http", "'http' is not a port"),
        ("localhost:65536", "'65536' is not a port"),
        ("localhost:-1", "'-1' is not a port"),
        ("localhost:٣٤", "is not a port"),
        ("::1:8000", "must be in brackets"),
        ("[::g]:8000", "'::g' is not an IPv6 address"),
        ("[::1]", "must be in brackets"),
        ("-x:80", "'-x' is not a host name"),
        ("a b:80", "'a b' is not a host name"),
        ("ws://127.0.0.1:8000", "ws:// is not one of http://, https://"),
        ("https://127.0.0.1:8000/", "'8000/' is not a port"),
        ("https://example.com", "the port is missing"),
        ("unix:", "the path of the socket"),
        ("unix:@app", "abstract sockets, to which every user may connect, are not served; a file is ./@app"),
        ("unix:" + "x" * 104, "at most 103 bytes"),
        ("unix:?mode=660", "the path of the socket"),
        ("unix:/a?", "'' is not an option of a Unix socket; known are mode, user and group"),
        ("unix:/a?mod=660", "'mod' is not an option of a Unix socket; known are mode, user and group"),
        ("unix:/a?mode=rw", "mode=rw is invalid: it is not a number of octal digits"),
        ("unix:/a?mode", "mode= is invalid: it is not a number of octal digits"),
        ("unix:/a?mode=1777", "mode=1777 is invalid: it is not from 0 to 777"),
        ("unix:/a?mode=660&mode=600", "mode is there twice"),
        ("unix:/a?group=", "group= is invalid: it is not a name"),
        ("unix:/a?user=-x", "user=-x is invalid: it is not a name"),
        ("unix:/a?user=4294967295", "no user or group has such a number"),
        ("unix:/a?user=" + "9" * 5000, "no user or group has such a number"),
        ("fd://", "fd://3"),
        ("fd://three", "fd://3"),
        ("9" * 5000, "the port is missing"),
    ],
)
def test_a_bad_address_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_address(text)
    assert why in str(caught.value)


@given(
    st.integers(0, 65535),
    st.sampled_from(["127.0.0.1", "::", "fe80::1", "example.org", "a_b"]),
    st.sampled_from(["", "http", "https"]),
)
def test_an_address_as_text_parses_back_to_itself(port: int, host: str, scheme: str) -> None:
    address = TcpAddress(host, port, scheme)
    assert parse_address(str(address)) == address


@given(
    st.none() | st.integers(0, 0o777),
    st.none() | st.sampled_from(["www-data", "33", "a.b"]),
    st.none() | st.sampled_from(["adm", "0"]),
)
def test_a_unix_sockets_address_as_text_parses_back_to_itself(
    mode: int | None, user: str | None, group: str | None
) -> None:
    address = UnixAddress("/run/app.sock", Access(mode, user, group))
    assert parse_address(str(address)) == address


@given(st.text(max_size=40) | st.text("unixmodegr:/?=&0467", max_size=40).map("unix:/".__add__))
def test_any_text_is_an_address_that_round_trips_or_a_configuration_error(text: str) -> None:
    try:
        address = parse_address(text)
    except ConfigurationError:
        return
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        (":8000", "http://localhost:8000"),
        ("[::]:8000", "http://localhost:8000"),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("https://:8443", "https://localhost:8443"),
        ("unix:/a", "unix:/a"),
        ("unix:/a?mode=660", "unix:/a"),
        ("fd://3", "fd://3"),
    ],
)
def test_an_addresss_url_is_what_a_browser_opens(text: str, url: str) -> None:
    assert parse_address(text).url == url


# Kinds of values


@pytest.mark.parametrize(
    ("given_value", "seconds"),
    [("30", 30.0), ("1.5", 1.5), ("500ms", 0.5), ("2m", 120.0), ("1h", 3600.0), ("10 s", 10.0), (3, 3.0), (0.25, 0.25)],
)
def test_a_duration_is_parsed(given_value: object, seconds: float) -> None:
    assert Settings.from_kwargs(header_timeout=given_value).header_timeout == seconds


@pytest.mark.parametrize(
    ("given_value", "mode", "shown"),
    [("660", 0o660, "660"), ("0660", 0o660, "660"), ("0o600", 0o600, "600"), (0o770, 0o770, "770"), ("7", 7, "007")],
)
def test_a_mode_is_octal(given_value: object, mode: int, shown: str) -> None:
    settings = Settings.from_kwargs(socket_mode=given_value)
    assert settings.socket_mode == mode
    assert settings.shown()["socket_mode"] == shown
    assert Settings.from_kwargs(socket_mode=shown) == settings


@pytest.mark.parametrize("bad", ["", "rw", "668", "0x1ff", "1777", "-1", 660, 0o1777, -1, True, 1.0])
def test_a_bad_mode_is_refused(bad: object) -> None:
    with pytest.raises(ConfigurationError, match="socket_mode"):
        Settings.from_kwargs(socket_mode=bad)


def test_the_same_unix_socket_twice_is_refused_whatever_its_permissions() -> None:
    with pytest.raises(ConfigurationError, match="it contains unix:/a twice"):
        Settings.from_kwargs(bind="unix:/a?mode=600,unix:/a?mode=660")


def test_the_bus_of_rooms_takes_no_permissions() -> None:
    with pytest.raises(ConfigurationError, match="unix: takes a path alone; only processes of the same user"):
        Settings.from_kwargs(rooms="unix:/a?mode=660")


@pytest.mark.parametrize(("given_value", "name"), [("www-data", "www-data"), (33, "33"), ("none", None), (None, None)])
def test_a_group_is_a_name_or_a_number(given_value: object, name: str | None) -> None:
    assert Settings.from_kwargs(socket_group=given_value).socket_group == name


@pytest.mark.parametrize("bad", ["", "a b", "a:b", "../x", "-x", 1.5, True])
def test_a_bad_group_is_refused(bad: object) -> None:
    with pytest.raises(ConfigurationError, match="socket_group"):
        Settings.from_kwargs(socket_group=bad)


@pytest.mark.parametrize(
    "bad", ["", "0", "-1", "fast", "1d", "1e3", "inf", 0, -1, float("inf"), float("nan"), True, None]
)
def test_a_bad_duration_is_refused(bad: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^header_timeout = .*Accepted: seconds"):
        Settings.from_kwargs(header_timeout=bad)


def test_no_grace_at_all_is_a_duration_too() -> None:
    assert Settings.from_kwargs(graceful_timeout=0).graceful_timeout == 0


@pytest.mark.parametrize(
    ("given_value", "size"),
    [("65536", 65536), ("64K", 65536), ("64k", 65536), ("10M", 10485760), ("1G", 1 << 30), ("1 MiB", 1 << 20), (7, 7)],
)
def test_a_size_is_parsed(given_value: object, size: int) -> None:
    assert Settings.from_kwargs(max_body=given_value).max_body == size


@pytest.mark.parametrize("bad", ["", "0", "-1", "1.5M", "M", "big", 0, -1, 1.5, True])
def test_a_bad_size_is_refused(bad: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^max_body = .*Accepted: bytes"):
        Settings.from_kwargs(max_body=bad)


@pytest.mark.parametrize("nothing", ["none", "None", None])
def test_an_optional_value_can_be_none(nothing: object) -> None:
    assert Settings.from_kwargs(buffer_chunked=nothing, access_log=nothing) == Settings(buffer_chunked=None)


@pytest.mark.parametrize("bad", ["0", "-3", "many", 0, 1.5, True, None, "1" * 5000])
def test_a_bad_count_is_refused(bad: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^concurrency = .*Accepted: a whole number"):
        Settings.from_kwargs(concurrency=bad)


def test_a_choice_is_one_of_a_few_words() -> None:
    assert Settings.from_kwargs(log_level="INFO").log_level == "info"
    with pytest.raises(ConfigurationError, match="Accepted: one of debug, info"):
        Settings.from_kwargs(log_level="chatty")


@pytest.mark.parametrize(
    ("given_value", "count"),
    [("8000,8001", 2), (["8000", "8001,8002"], 3), (8000, 1), (TcpAddress("::1", 1), 1), (("0", "0"), 2)],
)
def test_several_addresses_may_be_given(given_value: object, count: int) -> None:
    assert len(Settings.from_kwargs(bind=given_value).bind) == count


@pytest.mark.parametrize("bad", [[], "", None, [None], {"a": 1}, "8000,8000", True])
def test_bad_addresses_are_refused(bad: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^bind = .*Accepted: HOST:PORT"):
        Settings.from_kwargs(bind=bad)


@pytest.mark.parametrize(
    ("given_value", "headers"),
    [
        ("Strict-Transport-Security: max-age=1, x", (("Strict-Transport-Security", "max-age=1, x"),)),
        (["X-A:b", " X-B :  c  d "], (("X-A", "b"), ("X-B", "c  d"))),
        ("X-A: b\n\nX-A: c\n", (("X-A", "b"), ("X-A", "c"))),
        ((("Link", "</a>; rel=x"),), (("Link", "</a>; rel=x"),)),
        ([], ()),
        ("", ()),
    ],
)
def test_headers_are_parsed_and_shown(given_value: object, headers: tuple[tuple[str, str], ...]) -> None:
    settings = Settings.from_kwargs(header=given_value)
    assert settings.header == headers
    assert Settings.from_kwargs(header=settings.shown()["header"]) == settings


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("X-A", "is not a header field"),
        (": b", "is not a header field"),
        ("X-A:", "is not a header field"),
        ("X A: b", "is not a header field"),
        ("X-A: b\x1b", "is not a header field"),
        ("X-A: b\rX-B: c", "is not a header field"),
        ("X-A: \u20ac", "is not a header field"),
        ("Content-Length: 5", "how a message is framed"),
        ("connection: close", "how a message is framed"),
        ("Date: now", "an option of its own, date_header"),
        ("Server: me", "an option of its own, server_header"),
        ([("X-A", "b", "c")], "type tuple"),
        ([("X-A", "b\r\nX-B: c")], "is not a header field"),
        (None, "type NoneType"),
        ({"X-A": "b"}, "type dict"),
    ],
)
def test_a_bad_header_is_refused_with_the_reason(bad: object, why: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^header = .*{why}.*Accepted: a name, a colon"):
        Settings.from_kwargs(header=bad)


@pytest.mark.parametrize(
    ("given_value", "value"),
    [
        ("on", "greenserve"),
        (True, "greenserve"),
        ("off", None),
        (False, None),
        ("none", None),
        ("Me/1 (x)", "Me/1 (x)"),
    ],
)
def test_the_server_header_is_on_off_or_a_text(given_value: object, value: str | None) -> None:
    settings = Settings.from_kwargs(server_header=given_value)
    assert settings.server_header == value
    assert Settings.from_kwargs(server_header=settings.shown()["server_header"]) == settings


@pytest.mark.parametrize("bad", ["", "a\r\nX: b", "\u20ac", 1, "a\x00"])
def test_a_bad_server_header_is_refused(bad: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^server_header = .*Accepted: on, off"):
        Settings.from_kwargs(server_header=bad)


@given(
    st.builds(
        Settings,
        bind=st.lists(
            st.builds(TcpAddress, st.just("::1"), st.integers(1, 65535)), min_size=1, max_size=3, unique=True
        ).map(tuple),
        header_timeout=st.integers(1, 10**9).map(lambda milliseconds: milliseconds / 1000),
        max_head=st.integers(1, 2**40),
        max_body=st.none() | st.integers(1, 2**40),
        patch=st.booleans(),
    )
)
def test_what_is_shown_parses_back_to_the_same_settings(settings: Settings) -> None:
    shown = {OPTIONS[name].variable: text for name, text in settings.shown().items()}
    assert resolve({}, shown, Path("/nonexistent")).settings == settings


# The dataclass


def test_every_default_is_a_value_that_its_own_kind_accepts() -> None:
    for option in OPTIONS.values():
        assert option.kind.parse(option.kind.show(option.default)) == option.default


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().concurrency = 5  # type: ignore[misc]


def test_an_unknown_keyword_names_the_near_match() -> None:
    with pytest.raises(ConfigurationError, match=r"the keyword concurency is not an option.*did you mean concurrency"):
        Settings.from_kwargs(concurency=5)


@pytest.mark.parametrize("keyword", ["patch", "chdir"])
def test_what_only_the_command_can_do_is_refused_in_a_call(keyword: str) -> None:
    with pytest.raises(ConfigurationError, match="the command alone"):
        Settings.from_kwargs(**{keyword: "x"})


def test_the_http_limits_have_the_same_defaults() -> None:
    limits = Limits()
    for name in ("max_head", "max_header_count", "max_target", "max_body"):
        assert getattr(limits, name) == getattr(Settings(), name), name


# The sources


def test_the_sources_win_in_their_order_and_every_value_knows_its_own(tmp_path: Path) -> None:
    file = tmp_path / "greenserve.toml"
    file.write_text('bind = ["127.0.0.1:1"]\nconcurrency = 1\nbacklog = 1\nmax-body = "1K"\n')
    environ = {"GREENSERVE_BIND": "127.0.0.1:2", "GREENSERVE_CONCURRENCY": "2", "PATH": "/bin"}
    resolution = resolve({"bind": ("127.0.0.1:3",)}, environ, tmp_path)
    settings, origins = resolution.settings, resolution.origins
    assert (str(settings.bind[0]), settings.concurrency, settings.backlog) == ("127.0.0.1:3", 2, 1)
    assert settings.max_body == 1024
    assert [str(origins[name]) for name in ("bind", "concurrency", "backlog", "max_head")] == [
        "--bind",
        "GREENSERVE_CONCURRENCY",
        str(file),
        "default",
    ]
    assert origins["max_body"].source is Source.FILE
    assert set(origins) == set(OPTIONS)
    assert resolution.file == file
    assert resolution.warnings == ()


def test_without_any_source_everything_is_default(tmp_path: Path) -> None:
    resolution = resolve({}, {}, tmp_path)
    assert resolution.settings == Settings()
    assert {origin.source for origin in resolution.origins.values()} == {Source.DEFAULT}
    assert resolution.file is None


def test_pyproject_has_a_table_for_greenserve(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.greenserve]\nconcurrency = 7\npatch = false\n")
    resolution = resolve({}, {}, tmp_path)
    assert (resolution.settings.concurrency, resolution.settings.patch, resolution.file) == (7, False, file)


def test_greenserve_toml_wins_over_pyproject_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.greenserve]\nconcurrency = 7\nbacklog = 7\n")
    (tmp_path / "greenserve.toml").write_text("concurrency = 8\n")
    settings = resolve({}, {}, tmp_path).settings
    assert (settings.concurrency, settings.backlog) == (8, 2048)


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "tool = 3\n"])
def test_a_pyproject_without_the_table_is_no_settings_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert resolve({}, {}, tmp_path).file is None


def test_a_file_can_be_named_on_the_command_line_or_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "greenserve.toml").write_text("concurrency = 1\n")
    (tmp_path / "a.toml").write_text("concurrency = 2\n")
    (tmp_path / "b.toml").write_text("concurrency = 3\n")
    environ = {"GREENSERVE_CONFIG": "a.toml"}
    assert resolve({}, environ, tmp_path).settings.concurrency == 2
    assert resolve({}, environ, tmp_path, str(tmp_path / "b.toml")).settings.concurrency == 3


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.toml", None, "cannot be read: No such file"),
        ("a.toml", "concurrency = ", "not valid TOML"),
        (
            "a.toml",
            "concurency = 3",
            r"'concurency' in .*a\.toml is not an option of greenserve; did you mean concurrency\?",
        ),
        ("a.toml", "zebra = 3", "known are access_log,"),
        ("a.toml", "max-head = 1\nmax_head = 1", "has max_head twice"),
        ("a.toml", "concurrency = 'x'", r"^concurrency = 'x' \(from .*a\.toml\) is invalid: it is not a whole number"),
        ("a.toml", "patch = 1", r"^patch = 1 .*true or false"),
        ("pyproject.toml", "[tool]\n", r"has no table \[tool\.greenserve\]"),
        ("pyproject.toml", "[tool]\ngreenserve = 1", "is not a table"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(tmp_path: Path, name: str, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=why):
        resolve({}, {}, tmp_path, name)


def test_a_bad_variable_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"max_body = 'huge' \(from GREENSERVE_MAX_BODY\)"):
        resolve({}, {"GREENSERVE_MAX_BODY": "huge"}, tmp_path)


def test_an_unknown_variable_is_a_warning_that_names_the_near_match(tmp_path: Path) -> None:
    environ = {"GREENSERVE_CONCURENCY": "5", "GREENSERVE_SERVICE_HOST": "10.0.0.1"}
    resolution = resolve({}, environ, tmp_path)
    assert resolution.settings == Settings()
    near, unlike = resolution.warnings
    assert near.endswith("is ignored; did you mean GREENSERVE_CONCURRENCY?")
    assert unlike.endswith("GREENSERVE_SERVICE_HOST is not an option of greenserve and is ignored")


# The reference


def test_the_settings_reference_is_what_the_generator_prints() -> None:
    printed = subprocess.run(
        [sys.executable, "tools/settings_reference.py"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert printed == (REPOSITORY / "docs" / "settings.md").read_text(), "run `make docs`"


def test_the_settings_reference_has_every_option() -> None:
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    for option in OPTIONS.values():
        assert f"`{option.flag}" in text
        assert f"`{option.variable}`" in text


# Other servers' words


@pytest.mark.parametrize(
    ("name", "keyword"),
    [
        ("host", 'use bind="HOST:PORT"'),
        ("uds", 'use bind="unix:PATH"'),
        ("threads", "use concurrency=N "),
        ("reuse_port", "share their listening sockets"),
        ("certfile", 'use tls_cert="FILE"'),
        ("ws_per_message_deflate", "use ws_compression=true"),
    ],
)
def test_a_keyword_of_another_server_is_answered_with_ours(name: str, keyword: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_kwargs(**{name: 1})
    assert keyword in str(caught.value)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("host = '::'", 'use bind = "HOST:PORT"'),
        ("limit-request-fields = 5", "use max_header_count = N"),
        ("worker_class = 'gevent'", "leave it out"),
    ],
)
def test_a_key_of_another_server_is_answered_with_ours(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "greenserve.toml").write_text(line)
    with pytest.raises(ConfigurationError, match=why):
        resolve({}, {}, tmp_path)


def test_a_variable_of_another_server_is_answered_with_ours_but_not_one_of_kubernetes(tmp_path: Path) -> None:
    environ = {"GREENSERVE_HOST": "::", "GREENSERVE_PORT": "tcp://10.0.0.1:80", "GREENSERVE_PROCESSES": "4"}
    host, port, processes = resolve({}, environ, tmp_path).warnings
    assert host.endswith("is ignored; use GREENSERVE_BIND=HOST:PORT")
    assert port.endswith("is ignored")
    assert processes.endswith("is ignored; use GREENSERVE_WORKERS=N (or the variable WEB_CONCURRENCY)")


def test_a_settings_file_of_gunicorns_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("import os\nbind = os.environ['BIND']\n")
    with pytest.raises(ConfigurationError, match=r"written in Python, .* lines such as bind = \"HOST:PORT\""):
        resolve({}, {}, tmp_path, "gunicorn.conf.py")


def test_no_option_of_ours_is_taken_for_another_servers() -> None:
    assert not WORDS.keys() & OPTIONS.keys()
    for instead in WORDS.values():
        assert instead.option in OPTIONS or (not instead.option and instead.note)
