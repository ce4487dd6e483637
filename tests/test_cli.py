"""The command: what it passes on, in which order it starts, and how it ends. The server itself is a stand-in here."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import greenserve
from greenserve import codec, server
from greenserve.cli import check, main, startup
from greenserve.cli.exits import EXIT_CODES, ExitCode
from greenserve.errors import BindError
from greenserve.settings import OPTIONS, Settings, TcpAddress, parse_address
from greenserve.version import VERSION
from tests.conftest import REPOSITORY

APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return []
"""

ENOUGH_FILES = Settings().concurrency + 64

Command = Callable[..., Result]


class Started:
    """What the command did, in order; and how the stand-in server shall behave."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.application: Any = None
        self.settings = Settings()
        self.code = 0
        self.bind_error: BindError | None = None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    record = Started()

    class StandIn:
        application: object = None

        def __init__(self, settings: Settings) -> None:
            record.settings = settings
            self.addresses = settings.bind

        def serve_forever(self, ready: Callable[[], None]) -> int:
            record.application = self.application
            record.steps.append("listen")
            if record.bind_error:
                raise record.bind_error
            ready()
            record.steps.append("serve")
            return record.code

    monkeypatch.setattr(server, "Server", StandIn, raising=False)
    monkeypatch.setattr(greenserve, "monkey_patch", lambda: record.steps.append("patch"))
    return record


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of the command, with an application in it; what a run changes is put back."""
    monkeypatch.chdir(tmp_path)
    modules, path = set(sys.modules), list(sys.path)
    logger = logging.getLogger("greenserve")
    before = (logger.level, list(logger.handlers), logger.propagate)
    (tmp_path / "cli_app.py").write_text(APP)
    yield tmp_path
    logger.level, logger.handlers, logger.propagate = before
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("cli_"):
            del sys.modules[name]


@pytest.fixture
def command(directory: Path, started: Started) -> Command:
    def run(*arguments: str, **environ: str) -> Result:
        # A handler that an earlier run made writes to that run's standard error.
        logging.getLogger("greenserve").handlers.clear()
        return CliRunner().invoke(main, arguments, env=environ, prog_name="greenserve")

    return run


# serve


@pytest.mark.parametrize(
    "arguments",
    [
        ("cli_app:app",),
        ("serve", "cli_app:app"),
        ("--concurrency", "5", "cli_app:app"),
        ("-b", ":0", "cli_app"),
    ],
)
def test_serve_is_the_default_command(command: Command, started: Started, arguments: tuple[str, ...]) -> None:
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    assert started.application is sys.modules["cli_app"].app  # type: ignore[attr-defined]


def test_the_standard_library_is_patched_before_the_application_is_imported(
    command: Command, started: Started, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "cli_steps", started.steps, raising=False)
    (directory / "cli_order.py").write_text("import logging\nlogging.cli_steps.append('import')\n" + APP)
    command("cli_order:app")
    assert started.steps == ["patch", "import", "listen", "serve"]


def test_no_patch_leaves_the_standard_library_alone(command: Command, started: Started) -> None:
    result = command("cli_app:app", "--no-patch")
    assert started.steps == ["listen", "serve"]
    assert "standard library not patched" in result.stderr


def test_every_option_of_the_settings_is_one_of_the_command(command: Command, started: Started) -> None:
    arguments = ["cli_app:app"]
    for option in OPTIONS.values():
        if not option.kind.is_flag and option.name != "chdir":
            arguments += [option.flag, option.kind.show(option.default)]
    assert command(*arguments).exit_code == 0
    assert started.settings == Settings()


def test_bind_may_be_given_several_times(command: Command, started: Started) -> None:
    command("cli_app:app", "--bind", "127.0.0.1:1", "-b", "unix:x.sock")
    assert started.settings.bind == (TcpAddress("127.0.0.1", 1), parse_address("unix:x.sock"))


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    command: Command, started: Started, directory: Path
) -> None:
    (directory / "greenserve.toml").write_text("concurrency = 1\nbacklog = 1\nmax_header_count = 1\n")
    environ = {"GREENSERVE_CONCURRENCY": "2", "GREENSERVE_BACKLOG": "2"}
    command("cli_app:app", "--concurrency", "3", **environ)
    settings = started.settings
    assert (settings.concurrency, settings.backlog, settings.max_header_count) == (3, 2, 1)


def test_config_names_another_file(command: Command, started: Started, directory: Path) -> None:
    (directory / "other.toml").write_text("concurrency = 9\n")
    command("cli_app:app", "--config", "other.toml")
    assert started.settings.concurrency == 9


def test_the_first_line_says_version_pid_patch_and_address(command: Command) -> None:
    lines = command("cli_app:app", "-b", ":8000", "-b", "[::1]:8001").stderr.splitlines()
    assert lines[0].endswith("listening on http://localhost:8000")
    for word in (f"greenserve {VERSION}", f"pid {os.getpid()}", codec.NAME, "standard library patched"):
        assert word in lines[0]
    assert lines[1].endswith("listening on http://[::1]:8001")


def test_chdir_is_where_the_application_is_looked_for(command: Command, started: Started, directory: Path) -> None:
    (directory / "inner").mkdir()
    (directory / "inner" / "cli_inner.py").write_text(APP)
    assert command("cli_inner:app", "--chdir", "inner").exit_code == 0
    assert Path.cwd() == directory / "inner"


def test_an_application_that_disables_loggers_does_not_silence_the_server(command: Command, directory: Path) -> None:
    (directory / "cli_logs.py").write_text("import logging.config\nlogging.config.dictConfig({'version': 1})\n" + APP)
    assert "listening on" in command("cli_logs:app").stderr


def test_a_misspelt_variable_is_a_warning(command: Command) -> None:
    result = command("cli_app:app", GREENSERVE_BIN="x")
    assert result.exit_code == 0
    assert (
        "GREENSERVE_BIN is not an option of greenserve and is ignored; did you mean GREENSERVE_BIND?" in result.stderr
    )


def test_log_level_silences_what_is_less_severe(command: Command) -> None:
    assert command("cli_app:app", "--log-level", "warning").stderr == ""


# Ends


@pytest.mark.parametrize("code", [0, 1])
def test_the_servers_exit_status_is_the_commands(command: Command, started: Started, code: int) -> None:
    started.code = code
    assert command("cli_app:app").exit_code == code


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "Usage: greenserve"),
        (("serve",), 2, "Missing argument 'APP'"),
        (("cli_app:app", "--bnd", "x"), 2, "--bind"),
        (("cli_app:app", "--bind", "nowhere"), 2, "greenserve: bind = ('nowhere',) (from --bind) is invalid:"),
        (("cli_app:app", "--concurrency", "0"), 2, "concurrency = '0' (from --concurrency) is invalid: it is below 1"),
        (("cli_app:app", "--config", "none.toml"), 2, "none.toml cannot be read"),
        (("cli_app:app", "--chdir", "nowhere"), 2, "chdir = 'nowhere' (from --chdir): No such file or directory"),
        (("cli_ap:app",), 3, "did you mean cli_app:app?"),
        (("cli_app.py:app",), 3, "named as a module: cli_app:app"),
        (("check", "cli_app:app", "--concurrency", "0"), 2, "it is below 1"),
    ],
)
def test_what_is_wrong_ends_the_command_with_its_code(
    command: Command, started: Started, arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = command(*arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert "listen" not in started.steps


def test_an_application_that_raises_while_loading_shows_its_own_traceback(command: Command, directory: Path) -> None:
    (directory / "cli_bad.py").write_text("raise KeyError('DATABASE_URL')\n")
    result = command("cli_bad:app")
    assert result.exit_code == 3
    assert 'cli_bad.py", line 1, in <module>' in result.stderr
    assert result.stderr.splitlines()[-1] == "greenserve: importing 'cli_bad' failed: KeyError: 'DATABASE_URL'"


def test_an_address_that_cannot_be_bound_ends_with_4(command: Command, started: Started) -> None:
    started.bind_error = BindError("cannot listen on 127.0.0.1:1: it is in use by pid 7 (x)")
    result = command("cli_app:app")
    assert result.exit_code == 4
    assert result.stderr.splitlines()[-1] == "greenserve: cannot listen on 127.0.0.1:1: it is in use by pid 7 (x)"


def test_the_help_lists_every_exit_code(command: Command) -> None:
    for arguments in (("--help",), ("serve", "-h")):
        words = " ".join(command(*arguments).stdout.split())
        assert all(f"{code.value} {meaning}" in words for code, meaning in EXIT_CODES.items())
    assert set(EXIT_CODES) == set(ExitCode)


def test_version(command: Command) -> None:
    assert command("--version").stdout == f"greenserve {VERSION} ({codec.DESCRIPTION})\n"


@pytest.mark.parametrize("arguments", [("--version",), ("-h",)])
def test_python_m_greenserve_is_the_same_command(arguments: tuple[str, ...]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "greenserve", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "greenserve" in run.stdout
    assert run.stderr == ""


# demo


def test_the_demo_serves_the_built_in_application(
    command: Command, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr("greenserve.cli.startup.load", loaded.append)
    assert command("demo", "--bind", "127.0.0.1:0").exit_code == 0
    assert loaded == ["greenserve.demo:application"]
    assert started.settings.bind == (TcpAddress("127.0.0.1", 0),)


# check


def test_check_prints_settings_with_their_origins_and_the_environment(command: Command, started: Started) -> None:
    result = command("check", "cli_app:app", "--concurrency", "5", "-b", "127.0.0.1:0", GREENSERVE_BACKLOG="7")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for line in ("concurrency 5 (--concurrency)", "backlog 7 (GREENSERVE_BACKLOG)", "max_head 64K (default)"):
        assert line in lines
    assert "loaded cli_app.app" in lines
    assert f"greenserve {VERSION}" in lines
    assert lines[-1] == "ok"
    assert started.steps == ["patch"]


def test_check_indents_a_setting_of_several_lines(command: Command) -> None:
    lines = command("check", "cli_app:app", "--header", "X-A: 1", "--header", "X-B: 2").stdout.splitlines()
    first = next(line for line in lines if line.endswith("  X-A: 1"))
    assert lines[lines.index(first) + 1] == " " * first.index("X-A") + "X-B: 2  (--header)"


def test_check_finds_that_no_proxy_could_connect(command: Command) -> None:
    result = command("check", "cli_app:app", "--proxy-protocol", "--trusted-proxies", "none")
    assert result.exit_code == 1
    assert "error: proxy_protocol would refuse every connection" in result.stdout


def test_check_as_json_is_for_programs(command: Command) -> None:
    result = command("check", "cli_app:app", "--json", "-b", "127.0.0.1:0", "--no-patch", "--concurrency", "1")
    report = json.loads(result.stdout)
    assert report["ok"] is True
    assert report["sections"]["settings"]["patch"] == {"value": "false", "note": "--patch"}
    assert set(OPTIONS) < set(report["sections"]["settings"])
    assert any("not patched" in warning for warning in report["warnings"])


def checked(directory: Path, *arguments: str, **files: str) -> dict[str, Any]:
    """The report of `greenserve check` as a process of its own, which patches itself."""
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "greenserve", "check", "site_app:app", "--json", "-b", "127.0.0.1:0", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_check_names_what_patching_has_not_reached(tmp_path: Path) -> None:
    drivers = "import sys, types\nfor name in ('pymysql', 'MySQLdb', '_sqlite3'):\n"
    drivers += "    sys.modules.setdefault(name, types.ModuleType(name))\n"
    drivers += "import greenserve\nreal = greenserve.original('threading').Lock()\n"
    report = checked(tmp_path, site_app=drivers + APP)
    section = report["sections"]["patching"]
    assert section["standard library"]["value"] == "patched before the application was imported"
    assert section["still blocking"]["value"] == section["imported before that"]["value"] == "nothing"
    assert section["PyMySQL"]["value"] == "cooperates"
    assert section["mysqlclient"]["value"] == "blocks every green thread"
    assert section["sqlite3"]["value"] == "blocks every green thread, briefly"
    assert section["locks that stayed real"]["value"] == "site_app.real"
    blocking, lock = sorted(report["warnings"])
    assert blocking.startswith("mysqlclient blocks every green thread while it waits; use PyMySQL")
    assert lock == "site_app.real is not a green lock: a request that waits for it stops all others"


def test_check_of_a_plain_application_warns_of_nothing(tmp_path: Path) -> None:
    report = checked(tmp_path, site_app=APP)
    assert report["warnings"] == []
    assert set(report["sections"]["patching"]) == {
        *("standard library", "imported before that", "still blocking", "locks that stayed real", "cannot be patched"),
    }
    unpatched = checked(tmp_path, "--no-patch")
    assert list(unpatched["sections"]["patching"]) == ["standard library"]


def test_check_names_what_was_imported_before_the_patch(tmp_path: Path) -> None:
    # An interpreter's start may import anything: here its user's own module does.
    custom = "import early\n"
    early = "from threading import Lock\n"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for name, text in (("sitecustomize", custom), ("early", early), ("site_app", APP)):
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "greenserve", "check", "site_app:app", "--json", "-b", "127.0.0.1:0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        env=env,
    )
    report = json.loads(done.stdout)
    assert report["sections"]["patching"]["imported before that"]["value"] == "early"
    assert "early.Lock (threading.Lock) was imported before the patch and still blocks" in report["warnings"]


def test_what_an_application_prints_stays_out_of_the_report(command: Command, directory: Path) -> None:
    (directory / "cli_loud.py").write_text("print('hello')\n" + APP)
    result = command("check", "cli_loud:app", "--json")
    assert json.loads(result.stdout)["ok"] is True
    assert "hello" in result.stderr


def test_check_of_an_application_that_does_not_load_ends_with_1_and_still_reports(
    command: Command, directory: Path
) -> None:
    (directory / "cli_bad.py").write_text("raise KeyError('DATABASE_URL')\n")
    result = command("check", "cli_bad:app")
    assert result.exit_code == 1
    assert "error: importing 'cli_bad' failed: KeyError: 'DATABASE_URL'" in result.stdout
    assert "cli_bad.py" in result.stdout
    assert "concurrency" in result.stdout
    assert result.stdout.splitlines()[-1] == "not ok"


def test_check_warns_of_a_port_in_use(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "who_listens", lambda host, port: f"pid 7 ({host} {port})")
    result = command("check", "cli_app:app", "-b", "127.0.0.1:81")
    assert result.exit_code == 0
    assert "warning: 127.0.0.1:81 is in use by pid 7 (127.0.0.1 81)" in result.stdout


def test_check_warns_of_too_few_open_files_with_the_remedy(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.resource, "getrlimit", lambda _: (100, 200))
    result = command("check", "cli_app:app")
    assert f"warning: 200 open files are too few for {Settings().concurrency} requests at once: " in result.stdout
    assert "raise the hard limit" in result.stdout


@pytest.mark.parametrize(
    ("options", "in_kubernetes", "warned"),
    [
        (("--drain-delay", "5"), True, True),
        (("--drain-delay", "5"), False, False),
        (("--drain-delay", "5", "--graceful-timeout", "20"), True, False),
        ((), True, False),
    ],
)
def test_check_warns_in_a_pod_when_the_end_may_take_longer_than_kubernetes_gives_by_default(
    command: Command, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], in_kubernetes: bool, warned: bool
) -> None:
    if in_kubernetes:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    said = command("check", "cli_app:app", *options).stdout
    assert ("warning: drain_delay and graceful_timeout are 35 seconds together; Kubernetes kills" in said) == warned


@pytest.mark.parametrize("hard", [-1, ENOUGH_FILES])
def test_enough_open_files_are_no_warning(command: Command, monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    monkeypatch.setattr(check.resource, "getrlimit", lambda _: (100, hard))
    assert "open files are too few" not in command("check", "cli_app:app").stdout


@pytest.mark.parametrize(("limits", "raised"), [((1024, 4096), [(4096, 4096)]), ((4096, 4096), [])])
def test_the_server_may_open_as_many_files_as_it_is_allowed_to(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: list[tuple[int, int]]
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(startup.resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(startup.resource, "setrlimit", lambda _, values: calls.append(values))
    startup.raise_file_limit()
    assert calls == raised


def test_a_section_more_is_a_function_more(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def mood(subject: check.Subject) -> check.Section:
        return check.Section("mood", (check.Line("today", "good"),), warnings=("too good",), errors=("to be true",))

    monkeypatch.setattr(check, "SECTIONS", [mood])
    result = command("check", "cli_app:app")
    assert result.exit_code == 1
    assert result.stdout == "mood\n  today  good\n\nwarning: too good\nerror: to be true\nnot ok\n"


# Other servers' options


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "0.0.0.0"), "use --bind HOST:PORT"),
        (("--port=80",), "use --bind HOST:PORT"),
        (("--uds", "x"), "use --bind unix:PATH"),
        (("--threads", "4"), "use --concurrency N"),
        (("--processes", "4"), "use --workers N"),
        (("--limit-max-requests", "4"), "use --max-requests N"),
        (("--reuse-port",), "share their listening sockets"),
        (("-k", "gevent"), "leave it out"),
        (("--reload-engine", "inotify"), "watchfiles"),
        (("--reload-extra-file", "x"), "use --reload-include GLOB"),
        (("--certfile", "x"), "use --tls-cert FILE"),
        (("--access-logfile", "-"), "use --access-log FILE"),
        (("--no-access-log",), "leave it out"),
        (("--ws-max-size", "5"), "use --ws-max-message SIZE"),
        (("--factory",), "module:make_app()"),
        (("0.0.0.0:8000",), "use --bind HOST:PORT"),
    ],
)
@pytest.mark.parametrize("subcommand", [(), ("serve",), ("check",)])
def test_an_option_of_another_server_is_answered_with_ours(
    command: Command, subcommand: tuple[str, ...], arguments: tuple[str, ...], words: str
) -> None:
    result = command(*subcommand, "cli_app:app", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert words in result.stderr.splitlines()[-1]


def test_a_slip_of_the_pen_is_answered_with_the_near_option(command: Command) -> None:
    assert "--concurrency" in command("cli_app:app", "--concurency", "5").stderr.splitlines()[-1]


# The application's arguments


@pytest.mark.parametrize("subcommand", ["serve", "check"])
def test_an_application_finds_no_arguments_of_ours(
    command: Command, directory: Path, monkeypatch: pytest.MonkeyPatch, subcommand: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/greenserve", subcommand, "cli_argv:app", "--concurrency", "5"])
    parsing = "import argparse, sys\nargparse.ArgumentParser().parse_args()\nfound = list(sys.argv)\n"
    (directory / "cli_argv.py").write_text(parsing + APP)
    result = command(subcommand, "cli_argv:app", "--concurrency", "5", "-b", "127.0.0.1:0")
    assert result.exit_code == 0, result.output
    assert sys.modules["cli_argv"].found == ["/bin/greenserve"]  # type: ignore[attr-defined]
    assert sys.argv[1:] == [subcommand, "cli_argv:app", "--concurrency", "5"]


def test_an_application_finds_no_arguments_of_ours_while_it_is_served(
    command: Command, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/greenserve", "cli_app:app"])
    monkeypatch.setattr(started, "steps", Recorder())
    command("cli_app:app")
    assert started.steps[-1] == ("serve", ["/bin/greenserve"])


class Recorder(list[Any]):
    """Steps, each with the arguments that the process has meanwhile."""

    def append(self, step: object) -> None:
        super().append((step, list(sys.argv)))


# check without an application


def test_check_without_an_application_looks_at_the_environment(command: Command) -> None:
    result = command("check", "--concurrency", "5", "-b", "127.0.0.1:0")
    assert result.exit_code == 0, result.output
    assert re.search(r"APP +none", result.stdout)
    for title in ("settings", "addresses", "environment", "patching"):
        assert f"\n{title}\n" in result.stdout
    assert "ok" in result.stdout.splitlines()
    report = json.loads(command("check", "--json", "-b", "127.0.0.1:0").stdout)
    assert report["sections"]["application"]["APP"]["value"] == "none"
