"""Which functions of a module are called, with what, and what becomes of their errors; no process is started."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pytest

from greenserve.errors import LoadError
from greenserve.settings import Settings, parse_address
from greenserve.workers.hooks import CALLED, Hooks
from tests.e2e.server_process import run_command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hooks_of(place: Path, source: str, **settings: object) -> Hooks:
    (place / "gunicorn.conf.py").write_text(source)
    return Hooks(Settings(hooks="gunicorn.conf.py", **settings), pid=17, workers=3)  # type: ignore[arg-type]


RECORDING = "calls = []\n" + "\n".join(
    f"def {name}({', '.join(arguments)}):\n    calls.append(('{name}', {', '.join(arguments)}))"
    for name, arguments in CALLED.items()
)


def test_each_hook_gets_the_arguments_that_gunicorn_gives_it(place: Path) -> None:
    hooks = hooks_of(place, RECORDING + "\ndef on_exit(server):\n    server.calls = calls\n")
    worker = hooks.make_worker(2, 5)
    for name in CALLED.keys() - {"pre_fork", "on_exit"}:
        hooks.call(name, worker=worker, new_value=4, old_value=3)
    hooks.call("on_exit")
    calls = {name: arguments for name, *arguments in hooks.server.calls}  # type: ignore[attr-defined]
    server = hooks.server
    known = {"server": server, "worker": worker, "new_value": 4, "old_value": 3}
    assert calls == {name: [known[each] for each in CALLED[name]] for name in CALLED.keys() - {"on_exit"}}
    assert (server.pid, server.num_workers, worker.number, worker.age) == (17, 3, 2, 5)
    assert server.cfg is worker.cfg
    assert server.log is worker.log


def test_addresses_have_the_shape_that_gunicorn_gives_them(place: Path) -> None:
    bind = tuple(map(parse_address, ["127.0.0.1:80", "unix:/tmp/x", "fd://3"]))
    assert hooks_of(place, RECORDING, bind=bind).server.address == [("127.0.0.1", 80), "/tmp/x", 3]


def test_a_workers_life_begins_with_post_fork_and_ends_with_worker_exit_however_it_ends(place: Path) -> None:
    hooks = hooks_of(place, RECORDING + "\ndef pre_fork(server, worker):\n    worker.calls = calls\n")
    worker = hooks.make_worker(1, 1)
    assert worker.pid is None
    with pytest.raises(ZeroDivisionError), hooks.life_of(worker):
        raise ZeroDivisionError
    assert worker.pid == os.getpid()
    assert [name for name, *_ in worker.calls] == ["post_fork", "worker_exit"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["pre_fork", "post_fork"])
def test_a_worker_whose_hook_fails_does_not_begin(place: Path, name: str) -> None:
    hooks = hooks_of(place, f"def {name}(server, worker):\n    raise RuntimeError('no database')\n")
    worker = hooks.make_worker(1, 1)
    reason = f"hooks = 'gunicorn.conf.py': {name} failed: RuntimeError: no database"
    with pytest.raises(LoadError, match=reason) as caught, hooks.life_of(worker):
        pytest.fail("it has begun")
    assert "gunicorn.conf.py" in caught.value.details


def test_an_error_at_the_end_of_a_worker_is_logged(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    hooks = hooks_of(place, "def worker_exit(server, worker):\n    raise RuntimeError('too late')\n")
    with hooks.life_of(hooks.make_worker(1, 1)):
        pass
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "'gunicorn.conf.py': worker_exit failed: RuntimeError: too late\n" in record.getMessage()


def test_what_means_nothing_here_is_named_once(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = (
        "bind = ':80'\nthreads = 4\npaste = None\ndef post_fork(server, worker): pass\ndef pre_exec(server): pass\n"
    )
    hooks_of(place, source).begin("on_starting")
    calls, settings = (record.getMessage() for record in caplog.records)
    assert "not called, since they mean nothing here: pre_exec (" in calls
    assert "settings are not read there: bind: use --bind; threads: use --concurrency" in settings
    assert "paste: leave it out" in settings


def test_a_module_without_hooks_is_warned_of(place: Path) -> None:
    hooks = hooks_of(place, "def post_frok(server, worker): pass\n")
    assert not hooks
    assert "it has no hook; known are on_starting, " in hooks.warnings[0]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def post_fork(server): pass", "post_fork is called as post_fork(server, worker), and takes other arguments"),
        ("post_fork = 4", "post_fork is not a function, but of type int"),
        ("async def post_fork(server, worker): pass", "post_fork is asynchronous; write `def`, not `async def`"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("import nothing_of_that_name", "failed: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ],
)
def test_a_module_that_cannot_be_used_is_an_error_that_says_why(place: Path, source: str, reason: str) -> None:
    with pytest.raises(LoadError) as caught:
        hooks_of(place, source)
    assert str(caught.value).startswith("hooks = 'gunicorn.conf.py': ")
    assert reason in str(caught.value)


def test_a_module_is_found_by_its_name_as_well(place: Path) -> None:
    (place / "hooks_by_name.py").write_text(RECORDING)
    assert Hooks(Settings(hooks="hooks_by_name"), 1)
    for missing in ("hooks_by_nam", "hooks/none.py"):
        with pytest.raises(LoadError, match=f"hooks = '{missing}': there is no (module|file)"):
            Hooks(Settings(hooks=missing), 1)


def test_where_no_such_module_is_no_application_is_advised(place: Path) -> None:
    (place / "application.py").write_text("def app(environ, start_response): ...")
    with pytest.raises(LoadError) as caught:
        Hooks(Settings(hooks="pool"), 1)
    assert "its modules are application" in str(caught.value)
    assert "app:" not in str(caught.value)


def test_check_reports_the_hooks(place: Path) -> None:
    (place / "application.py").write_text("def app(environ, start_response): ...")
    (place / "good.py").write_text("bind = 4\ndef when_ready(server): raise RuntimeError\n")
    (place / "bad.py").write_text("def post_fork(): ...")
    good, bad = (
        run_command("check", "application:app", "--hooks", name, "--bind", "127.0.0.1:0", cwd=place)
        for name in ("good.py", "bad")
    )
    assert (good.returncode, bad.returncode) == (0, 1)
    assert re.search(r"hooks +when_ready$", good.stdout, re.MULTILINE)
    assert "settings are not read there: bind: use --bind" in good.stdout
    assert "hooks = 'bad': post_fork is called as post_fork(server, worker)" in bad.stdout


def test_without_a_module_nothing_is_called(place: Path) -> None:
    hooks = Hooks(Settings(), 1)
    assert not hooks
    with hooks.life_of(hooks.make_worker(1, 1)):
        hooks.call("post_worker_init")
