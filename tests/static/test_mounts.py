"""The setting `static`: alike from every source."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ConfigurationError
from greenserve.settings import OPTIONS, Mount, Settings, resolve
from tests.e2e.server_process import run_command
from tests.static.support import write


@pytest.mark.parametrize(
    ("value", "mounts"),
    [
        ("/static=public", [Mount("/static", "public")]),
        ("/static/=public", [Mount("/static", "public")]),
        ("/=public", [Mount("", "public")]),
        ("/a=x,/b=y, /c=z", [Mount("/a", "x"), Mount("/b", "y"), Mount("/c", "z")]),
        ("/a=x,y", [Mount("/a", "x,y")]),
        ("/a=x=y", [Mount("/a", "x=y")]),
        ("/gr%C3%BCn=x", [Mount("/grün", "x")]),
        (["/a=x", "/b=y"], [Mount("/a", "x"), Mount("/b", "y")]),
        ({"/a": "x", "/b": Path("y")}, [Mount("/a", "x"), Mount("/b", "y")]),
        ([Mount("/a", "x")], [Mount("/a", "x")]),
        ("none", []),
        (None, []),
    ],
)
def test_prefixes_and_directories(value, mounts):
    assert Settings.from_kwargs(static=value).static == tuple(mounts)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["/a=x", "/a/=y"], "/a has two directories, x and y; give one of them another prefix"),
        ("/a=x,/a=y", "/a has two directories, x and y"),
        ("/=x,/=y", "/ has two directories"),
        ("", "has no `=`"),
        ([], "names no directory"),
        ({}, "names no directory"),
        (3, "of type int"),
        ({"/a": 3}, "must be text"),
        ("/a/../b=x", "not a path of names"),
        ("/a?b=x", "not a path of names"),
        ("/a=x\0", "directory of /a is missing"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(value, said):
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_kwargs(static=value)
    assert said in str(caught.value)


@given(st.lists(st.tuples(st.text("/ab%=, ", max_size=6), st.text("/ab=, ", max_size=6)), max_size=3))
def test_what_is_shown_is_read_as_the_same(pairs):
    try:
        mounts = Settings.from_kwargs(static=[f"/{prefix}={directory}" for prefix, directory in pairs]).static
    except ConfigurationError:
        return
    kind = OPTIONS["static"].kind
    assert kind.parse(kind.show(mounts)) == mounts


def test_a_file_may_have_a_table(tmp_path):
    (tmp_path / "greenserve.toml").write_text('[static]\n"/static" = "public"\n"/" = "site"\n')
    assert resolve({}, {}, tmp_path).settings.static == (Mount("/static", "public"), Mount("", "site"))
    assert resolve({"static": ("none",)}, {}, tmp_path).settings.static == ()
    assert resolve({}, {"GREENSERVE_STATIC": "/a=b"}, tmp_path).settings.static == (Mount("/a", "b"),)


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="not a regular expression"):
        Settings.from_kwargs(static_immutable="(")


def test_check_reports_directories(tmp_path):
    write(tmp_path, "public/file")
    (tmp_path / "hello.py").write_text("def app(environ, start_response): ...\n")
    done = run_command("check", "hello:app", "--static", "/static=public", cwd=tmp_path)
    assert done.returncode == 0
    assert f"/static  {tmp_path}/public" in done.stdout
    done = run_command("check", "hello:app", "--static", "/static=missing", cwd=tmp_path)
    assert done.returncode == 1
    assert "create it, or write /static=DIR" in done.stdout
