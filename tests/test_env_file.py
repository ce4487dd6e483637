"""Files of environment variables: what a line means, what is refused, and which source wins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ConfigurationError
from greenserve.settings import resolve
from greenserve.settings.env_file import parse_env_file, read_env_file


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("A=1", {"A": "1"}),
        ("A=1\n\n# B=2\n  ; C=3\n\t\nD=4\n", {"A": "1", "D": "4"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=", {"A": ""}),
        ("A=\nB=''\nC=\"\"\n", {"A": "", "B": "", "C": ""}),
        ("A=1\nA=2", {"A": "2"}),
        ("export A=1\nexport\tB=2\nexport=3", {"A": "1", "B": "2", "export": "3"}),
        ("  A=  two words \t", {"A": "two words"}),
        ("A=redis://:p=w@h:1/0?a=b#c", {"A": "redis://:p=w@h:1/0?a=b#c"}),
        ("A=#fff", {"A": "#fff"}),
        ("A=$HOME/${B}", {"A": "$HOME/${B}"}),
        (r"A=C:\new", {"A": r"C:\new"}),
        ("A=it's", {"A": "it's"}),
        ("A='a \"b\" $c \\n # d'  ", {"A": 'a "b" $c \\n # d'}),
        (r'A="a \"b\" \$c \\ \n # d"', {"A": r'a "b" $c \ \n # d'}),
        ('A="-----BEGIN\nx\n-----END"\nB=1', {"A": "-----BEGIN\nx\n-----END", "B": "1"}),
    ],
)
def test_a_line_is_a_variable(text: str, variables: dict[str, str]) -> None:
    assert parse_env_file(text, "app.env") == variables


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("A=1\nSECRET", 2, "KEY=VALUE is wanted"),
        ("\n\nA =1", 3, "no space around ="),
        ("1A=SECRET", 1, "KEY=VALUE is wanted"),
        ("=SECRET", 1, "KEY=VALUE is wanted"),
        ("export A", 1, "KEY=VALUE is wanted"),
        ("A='SECRET", 1, "the value of A begins with a quote, which has to be closed"),
        ('A=\'1\'\nB="SECRET\nC="2"', 2, "the value of B begins with a quote"),
        ("A='SECRET' # note", 1, "with nothing behind it"),
        ("A=SECRET # note", 1, "the value of A has a # behind a space: quote the value"),
        ("A= # SECRET", 1, "the value of A has a # behind a space"),
        ("A='1\n2'\nB=SEC\0RET", 3, "no variable can contain NUL"),
    ],
)
def test_what_is_not_clear_is_refused_by_its_line_and_no_value_is_shown(text: str, line: int, why: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(why)) as caught:
        parse_env_file(text, "app.env")
    assert str(caught.value).startswith(f"app.env, line {line}: ")
    assert "SEC" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing.env \(from env_file\) cannot be read: No such file"):
        read_env_file(tmp_path / "missing.env")
    file = tmp_path / "latin.env"
    file.write_bytes(b"A=1\nB=\xe4")
    with pytest.raises(ConfigurationError, match=r"latin.env, line 2: it is not UTF-8"):
        read_env_file(file)
    file.write_bytes(b"\xef\xbb\xbfA=\xc3\xa4")
    assert read_env_file(file) == {"A": "ä"}


VALUES = st.text(st.characters(exclude_characters="\0\r", exclude_categories=("Cs",)))


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True), VALUES))
def test_any_value_can_be_written_in_quotes(variables: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        return "'" + value + "'" if "'" not in value else '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'

    assert parse_env_file("".join(f"{name}={quoted(each)}\n" for name, each in variables.items()), "x") == variables


@given(st.text("A1=\"'\\# \t\n\r$\0x") | st.text())
def test_any_text_is_variables_or_a_refusal_with_a_line_that_it_has(text: str) -> None:
    try:
        variables = parse_env_file(text, "x")
    except ConfigurationError as error:
        found = re.match(r"x, line (\d+): ", str(error))
        assert found is not None
        assert 1 <= int(found[1]) <= text.count("\n") + 1
    else:
        assert all("\0" not in value for value in variables.values())


# As a source


def test_the_files_count_below_the_environment_and_later_ones_above_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("GREENSERVE_BACKLOG=1\nGREENSERVE_CONCURRENCY=1\nA=a\nB=a\nPATH=/none\n")
    (tmp_path / "b.env").write_text("GREENSERVE_CONCURRENCY=2\nB=b\n")
    (tmp_path / "greenserve.toml").write_text('backlog = 7\nmax_head = "1K"\n')
    environ = {"GREENSERVE_ENV_FILE": "a.env,b.env", "PATH": "/bin", "GREENSERVE_MAX_QUEUE": "3"}
    found = resolve({}, environ, tmp_path)
    settings = found.settings
    assert (settings.backlog, settings.concurrency, settings.max_head, settings.max_queue) == (1, 2, 1024, 3)
    assert {name: value for name, value in found.variables.items() if "GREENSERVE" not in name} == {"A": "a", "B": "b"}
    assert str(found.origins["concurrency"]) == f"GREENSERVE_CONCURRENCY in {tmp_path / 'b.env'}"
    assert str(found.origins["max_queue"]) == "GREENSERVE_MAX_QUEUE"


def test_a_bad_value_of_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("GREENSERVE_BACKLOG=many\n")
    with pytest.raises(ConfigurationError, match=r"from GREENSERVE_BACKLOG in .*a\.env\) is invalid"):
        resolve({"env_file": ("a.env",)}, {}, tmp_path)


def test_the_files_may_name_the_settings_file_and_the_settings_file_may_name_them(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("GREENSERVE_CONFIG=other.toml\n")
    (tmp_path / "other.toml").write_text("backlog = 5\n")
    assert resolve({"env_file": ("a.env",)}, {}, tmp_path).settings.backlog == 5
    (tmp_path / "greenserve.toml").write_text('env_file = "b.env"\n')
    (tmp_path / "b.env").write_text("GREENSERVE_BACKLOG=6\n")
    assert resolve({}, {}, tmp_path).settings.backlog == 6
    (tmp_path / "greenserve.toml").write_text('env_file = "a.env"\n')
    with pytest.raises(ConfigurationError, match="the settings file has been read already"):
        resolve({}, {}, tmp_path)


def test_a_file_cannot_name_another_one(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("GREENSERVE_ENV_FILE=b.env\n")
    with pytest.raises(ConfigurationError, match="name them both"):
        resolve({"env_file": ("a.env",)}, {}, tmp_path)


def test_an_unknown_variable_of_a_file_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("GREENSERVE_BAKLOG=6\n")
    (warning,) = resolve({"env_file": ("a.env",)}, {}, tmp_path).warnings
    assert "did you mean GREENSERVE_BACKLOG?" in warning


# A platform's port


def test_a_platforms_port_is_listened_on_where_nothing_says_otherwise(tmp_path: Path) -> None:
    found = resolve({}, {"PORT": "5000"}, tmp_path)
    assert (str(found.settings.bind[0]), str(found.origins["bind"])) == ("0.0.0.0:5000", "environment: PORT")
    assert str(resolve({}, {"PORT": ""}, tmp_path).settings.bind[0]) == "127.0.0.1:8000"
    assert str(resolve({"bind": "1"}, {"PORT": "x"}, tmp_path).settings.bind[0]) == "127.0.0.1:1"
    assert str(resolve({}, {"PORT": "x", "GREENSERVE_BIND": "2"}, tmp_path).settings.bind[0]) == "127.0.0.1:2"
    (tmp_path / "greenserve.toml").write_text("bind = 3")
    assert str(resolve({}, {"PORT": "5000"}, tmp_path).settings.bind[0]) == "127.0.0.1:3"


@pytest.mark.parametrize("port", ["http", "0", "65536", "tcp://10.0.0.1:80", " "])
def test_a_platforms_port_that_is_none_is_refused_by_its_name(tmp_path: Path, port: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the variable PORT, .* from 1 to 65535, unset it, or give --bind"):
        resolve({}, {"PORT": port}, tmp_path)


def test_a_platforms_port_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("PORT=5000\n")
    found = resolve({"env_file": ("a.env",)}, {}, tmp_path)
    assert str(found.origins["bind"]) == f"environment: PORT in {tmp_path / 'a.env'}"
