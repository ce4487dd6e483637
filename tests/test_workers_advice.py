"""What the start and `check` say of settings of workers that do not fit together, or into the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenserve.errors import ConfigurationError
from greenserve.server import machine
from greenserve.server.share import wanted
from greenserve.settings import MOST_WORKERS, OPTIONS, Resolution, Settings, resolve
from greenserve.workers.advice import advice, outgrown, too_large
from tests.e2e.server_process import run_command

MIB = 1 << 20
SUPERVISED = [option for option in OPTIONS.values() if option.supervised]


@pytest.fixture(autouse=True)
def two_processors_and_a_gigabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "processors", lambda: 2)
    monkeypatch.setattr(machine, "memory", lambda: 1024 * MIB)


def resolved(tmp_path: Path, **options: object) -> Resolution:
    return resolve(options, {}, tmp_path)


def test_defaults_are_fine_with_one_worker_and_with_several(tmp_path: Path) -> None:
    assert advice(resolved(tmp_path)) == []
    assert advice(resolved(tmp_path, workers="auto")) == []
    assert advice(resolved(tmp_path, workers="4", graceful_timeout="1")) == [], "drain_spread is the default"


@pytest.mark.parametrize("name", [option.name for option in SUPERVISED])
def test_what_is_for_several_workers_is_said_to_mean_nothing_with_one(tmp_path: Path, name: str) -> None:
    option = OPTIONS[name]
    value: object = "7" if not option.kind.is_flag else not option.default
    (text,) = advice(resolved(tmp_path, **{name: value}))
    assert text.startswith(f"{name} (from {option.flag}) has no effect with one worker")
    assert "--workers 2" in text
    assert name not in " ".join(advice(resolved(tmp_path, workers=2, **{name: option.kind.show(option.default)})))


def test_the_lives_of_workers_are_for_several() -> None:
    names = {option.name for option in SUPERVISED}
    assert names >= {"preload", "worker_timeout", "max_requests", "max_worker_age", "max_worker_memory", "drain_spread"}
    assert not any(option.in_call for option in SUPERVISED)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"workers": 5}, "5 workers (from --workers) are more than 2 for each processor, of which there are 2"),
        ({"max_worker_memory": "600M"}, "600 MiB each, together more than the memory of 1024 MiB: lower it to 512M"),
        ({"max_requests_jitter": 10}, "max_requests_jitter has no effect without max_requests"),
        ({"worker_timeout": 2}, "worker_timeout is 2 s"),
        ({"drain_spread": 20}, "drain_spread (20 s) is cut to half of graceful_timeout (30 s): raise that to 40 s"),
        ({"max_worker_age": 10}, "max_worker_age (10 s) is less than graceful_timeout (30 s)"),
    ],
)
def test_what_does_not_fit_together_is_said_with_the_remedy(
    tmp_path: Path, options: dict[str, object], why: str
) -> None:
    (text,) = advice(resolved(tmp_path, **({"workers": 2} | options)))
    assert why in text


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 4},
        {"max_worker_memory": "512M"},
        {"max_requests_jitter": 10, "max_requests": 10},
        {"worker_timeout": 0},
        {"worker_timeout": 5},
        {"drain_spread": 15},
        {"max_worker_age": 30},
    ],
)
def test_what_just_fits_is_not_mentioned(tmp_path: Path, options: dict[str, object]) -> None:
    assert advice(resolved(tmp_path, **({"workers": 2} | options))) == []


def test_the_size_of_the_application_is_judged() -> None:
    assert outgrown(Settings(workers=2, max_worker_memory=100 * MIB), 100 * MIB) is None
    assert outgrown(Settings(workers=1, max_worker_memory=100 * MIB), 200 * MIB) is None, "there is no supervisor"
    text = outgrown(Settings(workers=2, max_worker_memory=100 * MIB), 101 * MIB)
    assert text is not None
    assert "max_worker_memory (100 MiB) is less than the application takes at its start (101 MiB)" in text
    assert too_large(Settings(workers=4), 256 * MIB) is None
    text = too_large(Settings(workers=4), 300 * MIB)
    assert text is not None
    assert "4 workers take 300 MiB each" in text
    assert "--workers 3 would fit" in text


@pytest.mark.parametrize(("kernel", "short"), [("4096\n", False), ("2048\n", False), ("128\n", True), (None, False)])
def test_a_queue_that_the_kernel_cuts_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: str | None, short: bool
) -> None:
    (tmp_path / "net" / "core").mkdir(parents=True)
    if kernel is not None:
        (tmp_path / "net" / "core" / "somaxconn").write_text(kernel)
    monkeypatch.setattr(machine, "KERNEL", tmp_path)
    text = machine.short_queue(2048)
    assert (text is not None) is short
    assert text is None or ("sysctl -w net.core.somaxconn=2048" in text and "--backlog 128" in text)


def test_there_is_a_highest_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved(tmp_path, workers=MOST_WORKERS).settings.workers == MOST_WORKERS
    with pytest.raises(ConfigurationError, match=r"it is above 256.*at most 256, or auto"):
        resolved(tmp_path, workers=MOST_WORKERS + 1)
    monkeypatch.setattr(machine, "processors", lambda: 384)
    assert wanted(Settings(workers=None)) == MOST_WORKERS


@pytest.mark.parametrize(("name", "value"), [("workers", 4), ("max_requests", 100), ("preload", False)])
def test_a_program_is_told_that_the_command_starts_workers(name: str, value: object) -> None:
    written = {"workers": "--workers N", "max_requests": "--max-requests N", "preload": "--preload"}
    with pytest.raises(ConfigurationError, match=f"greenserve MODULE:APPLICATION {written[name]}"):
        Settings.from_kwargs(**{name: value})


def test_the_command_says_it_in_check_and_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text("def app(environ, start_response): ...\n")
    options = ("application:app", "--workers", "2", "--max-worker-memory", "1M", "--max-connections", "999")
    report = run_command("check", *options, cwd=tmp_path)
    assert report.returncode == 1
    assert "error: max_worker_memory (1 MiB) is less than the application takes at its start" in report.stdout
    assert "max_connections       500  (of each worker)" in report.stdout
    (tmp_path / "application.py").write_text("raise SystemExit('loaded')\n")
    start = run_command("application:app", "--max-requests", "7", "--bind", "127.0.0.1:0", cwd=tmp_path)
    assert "max_requests (from --max-requests) has no effect with one worker" in start.stderr


def test_options_of_reload_mean_nothing_without_it(tmp_path: Path) -> None:
    for name in ("reload_include", "reload_exclude", "reload_dir"):
        (text,) = advice(resolved(tmp_path, **{name: "x"}))
        assert text.startswith(f"{name} (from --")
        assert not advice(resolved(tmp_path, reload="true", **{name: "x"}))


def test_with_reload_one_worker_has_a_supervisor(tmp_path: Path) -> None:
    assert not advice(resolved(tmp_path, reload="true", max_requests="9"))


@pytest.mark.parametrize(
    ("variable", "name"), [("NOTIFY_SOCKET", "systemd"), ("KUBERNETES_SERVICE_HOST", "Kubernetes")]
)
def test_reload_is_not_for_production(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    monkeypatch.setenv(variable, "x")
    (text,) = advice(resolved(tmp_path, reload="true"))
    assert f"is for development, and {name} runs this" in text
    assert not advice(resolved(tmp_path))


def test_no_application_need_answer_well_with_reload(tmp_path: Path) -> None:
    (text,) = advice(resolved(tmp_path, reload="true", ready_path="/"))
    assert "has no effect with reload" in text
