"""The helper itself, against small programs: a helper that hides a failure would make every other test worthless."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from tests.e2e.server_process import ServerFailed, ServerProcess, run_command

LISTENS = """
    import socket, sys, signal
    listener = socket.create_server(("127.0.0.1", 0))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
    print("listening on http://127.0.0.1:%d" % listener.getsockname()[1], file=sys.stderr, flush=True)
    while True:
        peer, _ = listener.accept()
        print("somebody called", flush=True)
"""


def program(code: str, **options: float) -> ServerProcess:
    return ServerProcess(executable=(sys.executable, "-c", textwrap.dedent(code)), bind=(), **options)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_it_is_ready_once_the_address_was_said_and_stops_with_the_programs_own_exit_code() -> None:
    with program(LISTENS) as server:
        assert server.running
        assert server.host == "127.0.0.1"
        assert server.url == f"http://127.0.0.1:{server.port}"
        server.connect().close()
        server.wait_for_line("somebody called")
    assert server.returncode == 7
    assert server.stdout == "somebody called"
    assert server.stderr.startswith("listening on")


def test_a_program_that_ends_instead_of_listening_is_reported_with_its_words() -> None:
    with pytest.raises(ServerFailed, match="no such module"):
        program("raise SystemExit('no such module')").start()


def test_a_program_that_keeps_silent_is_killed() -> None:
    server = program("import signal; print('hm', flush=True); signal.pause()", ready_timeout=0.5)
    with pytest.raises(ServerFailed, match=r"within 0\.5 s"):
        server.start()
    assert server.returncode == -signal.SIGKILL


def test_a_program_that_ignores_the_signal_is_killed_and_reported() -> None:
    server = program(LISTENS.replace("lambda number, frame: sys.exit(7)", "signal.SIG_IGN"))
    server.start()
    with pytest.raises(ServerFailed, match="was killed"):
        server.stop(timeout=0.2)
    assert not server.running


def test_a_failing_test_kills_the_process_at_once() -> None:
    server = program(LISTENS)
    with pytest.raises(ZeroDivisionError), server:
        raise ZeroDivisionError
    assert server.returncode == -signal.SIGKILL


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the child in /proc")
def test_children_do_not_outlive_the_process() -> None:
    code = """
        import os, signal, sys
        child = os.fork()
        if not child:
            signal.pause()
        print("child", child, flush=True)
        print("listening on http://127.0.0.1:1", flush=True)
        signal.pause()
    """
    server = program(code)
    server.start()
    child = int(server.wait_for_line(r"child (\d+)")[0][1])
    assert alive(child)
    server.kill()
    while alive(child):  # it is process 1's to bury now
        os.sched_yield()


def test_other_settings_of_the_environment_do_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENSERVE_BIND", "127.0.0.1:1")
    code = "import os; print(os.environ.get('GREENSERVE_BIND'), os.environ['MINE'])"
    said = run_command(executable=(sys.executable, "-c", code), env={"MINE": "yes"}, cwd=os.sep)
    assert said.stdout.split() == ["None", "yes"]
