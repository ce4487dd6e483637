"""Workers, their template and their supervisor are killed, stopped, blocked and starved under load.

After each fault there is full service, the failed requests are those of the worker that was hit, and the log says what
has happened, to which process, and what follows.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path

from tests.conftest import require_program
from tests.e2e.server_process import ServerProcess
from tests.faults.conftest import Faulty
from tests.faults.raw import Raw
from tests.faults.steady_load import SteadyLoad
from tests.waiting import until_blocking
from tests.wire import get

APPLICATION = """
import os, re, subprocess, sys, time
from greenserve.patching.originals import original

FILES, MEMORY = [], []
block = original("time").sleep


def app(environ, start_response):
    path = environ["PATH_INFO"]
    answer = ""
    if path == "/block":
        block(600)
    elif path == "/stuck":  # in C, where no Python handler can run
        re.match("(a+)+$", "a" * 60 + "b")
    elif path == "/leak":
        try:
            while True:
                FILES.append(open("/dev/null"))
        except OSError as error:
            answer = str(error)
    elif path == "/free":
        FILES.clear()
    elif path == "/grow":
        MEMORY.append(bytearray(b"x" * 150_000_000))
    elif path == "/program":
        command = "ls -l /proc/self/fd"
        answer = subprocess.run(command, shell=True, close_fds=False, capture_output=True, text=True).stdout
    body = f"{os.getpid()} {answer}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def start(faulty: Faulty, *arguments: str, workers: int = 3, **options: object) -> ServerProcess:
    (faulty.directory / "faulty.py").write_text(APPLICATION)
    return faulty.start("--workers", str(workers), *arguments, **options)


def ask(faulty: Faulty, server: ServerProcess, path: str = "/") -> str:
    """What some worker answers: its pid, and more."""
    return faulty.raw(server, get(path)).answer()[1].decode()


def connection_to(faulty: Faulty, server: ServerProcess, pid: int) -> Raw:
    for _ in range(200):
        connection = faulty.raw(server, get("/"))
        if connection.answer()[1].split()[0] == str(pid).encode():
            return connection
        connection.close()
    raise AssertionError(f"no connection came to worker {pid}")


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found]


def template_of(server: ServerProcess, workers: set[int]) -> int:
    """The child of the supervisor that serves nothing."""
    until_blocking(lambda: len(set(children(server.pid)) - workers) == 1)
    (found,) = set(children(server.pid)) - workers
    return found


def test_killed_processes_have_successors_and_only_what_they_had_in_progress_fails(faulty: Faulty) -> None:
    server = start(faulty)
    with SteadyLoad(server) as load:
        workers = load.all_serve(3)
        template = template_of(server, workers)
        os.kill(template, signal.SIGKILL)
        server.wait_for_line(rf"template \(pid {template}\) was killed by SIGKILL; another one loads the application")
        assert not load.failed
        victim = min(workers)
        os.kill(victim, signal.SIGKILL)
        server.wait_for_line(rf"worker \d \(pid {victim}\) was killed by SIGKILL")
        load.all_serve(3, without=victim)
        assert set(load.failed) <= {victim, 0}
        assert len(load.failed) <= 6, "each client has one request in progress"
        os.kill(server.pid, signal.SIGSTOP)
        victim = max(load.all_serve(3) - {victim})
        os.kill(victim, signal.SIGKILL)
        load.all_serve(2, without=victim)
        os.kill(server.pid, signal.SIGCONT)
        server.wait_for_line(rf"worker \d \(pid {victim}\) was killed by SIGKILL")
        load.all_serve(3, without=victim)
        assert load.refused == 0
    assert server.stop() == 0


def test_stopped_and_blocked_workers_are_shown_and_replaced_and_so_is_a_stopped_template(faulty: Faulty) -> None:
    server = start(faulty, "--worker-timeout", "1")
    with SteadyLoad(server) as load:
        workers = sorted(load.all_serve(3))
        os.kill(template_of(server, set(workers)), signal.SIGSTOP)
        blocked = connection_to(faulty, server, workers[0])
        blocked.send(get("/block", "X-Request-Id: order-7"))
        os.kill(workers[1], signal.SIGSTOP)
        for pid in workers[:2]:
            server.wait_for_line(rf"something has blocked worker \d \(pid {pid}\) for \d s \(worker_timeout\)")
        server.wait_for_line(r"\d\.\d s  GET /block HTTP/1\.1 from 127\.0\.0\.1:\d+, X-Request-Id order-7")
        assert blocked.at_end()
        server.wait_for_line(rf"\(pid {workers[0]}\) was killed by SIGABRT")
        server.wait_for_line(rf"\(pid {workers[1]}\) was killed by SIGKILL")
        server.wait_for_line(r"template \(pid \d+\) has not forked worker \d \(pid \?\) within 5 s, and is killed")
        server.wait_for_line(r"template \(pid \d+\) was killed by SIGKILL; another one loads the application")
        until_blocking(lambda: len(load.all_serve(3) - set(workers[:2])) >= 3)
        assert set(load.failed) <= {0, *workers[:2]}
        assert load.refused == 0
    assert server.stop() == 0


def test_a_worker_without_memory_or_descriptors_harms_no_other(faulty: Faulty) -> None:
    prlimit = require_program("prlimit")
    server = start(
        faulty, "--max-worker-memory", "150MiB", executable=(prlimit, "--nofile=90:90", *ServerProcess().command[:3])
    )
    with SteadyLoad(server, clients=4) as load:
        workers = load.all_serve(3)
        leaking = min(workers)
        connection = connection_to(faulty, server, leaking)
        connection.send(get("/leak"))
        assert b"Too many open files" in connection.answer()[1]
        load.all_serve(2, without=leaking)
        connection.send(get("/free"))
        assert connection.answer()[0] == 200
        load.all_serve(3)
        connection.send(get("/grow"))
        assert connection.answer()[0] == 200
        server.wait_for_line(rf"worker \d \(pid {leaking}\) is to be replaced: it holds \d+ MiB \(max_worker_memory\)")
        server.wait_for_line(rf"worker \d \(pid {leaking}\) has ended")
        assert leaking not in load.all_serve(3, without=leaking)
        assert load.failed == []
        assert load.refused == 0
    assert server.stop() == 0


def test_new_code_that_hangs_or_crashes_leaves_the_old_workers_alone(faulty: Faulty) -> None:
    server = start(faulty, "--load-timeout", "2s", workers=2)
    with SteadyLoad(server, clients=2) as load:
        workers = load.all_serve(2)
        (faulty.directory / "faulty.py").write_text("import time\ntime.sleep(600)\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for_line(r"template \(pid \d+\) has not loaded the application within 2 s \(load_timeout\)")
        server.wait_for_line(r'faulty\.py", line 2, in <module>')
        server.wait_for_line("cannot be served: it was not loaded within 2 s .*; the workers of before go on")
        (faulty.directory / "faulty.py").write_text("import os\nos.abort()\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for_line(
            "the process that loads the application was killed by SIGABRT; the workers of before go on"
        )
        assert load.all_serve(2) == workers
        (faulty.directory / "faulty.py").write_text(APPLICATION)
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("reloaded: all workers run generation 2")
        assert not load.failed
        assert load.refused == 0
    assert server.stop() == 0


def test_nothing_is_left_of_a_killed_supervisor_and_the_next_server_takes_its_place(faulty: Faulty) -> None:
    path, pid_file = faulty.directory / "app.sock", faulty.directory / "pid"
    options = ("--pid-file", str(pid_file))
    server = start(faulty, *options, bind=("127.0.0.1:0", f"unix:{path}"))
    with SteadyLoad(server) as load:
        everything = {*children(server.pid)}
        os.kill(server.pid, signal.SIGKILL)
        server.wait_for_line("the supervisor has ended: stopping", count=3)
        until_blocking(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everything), step=0.05)
        assert set(load.failed) <= {0}, "the workers answer what they have accepted"
    assert server.wait() == -signal.SIGKILL
    after = start(faulty, *options, bind=(f"{server.host}:{server.port}", f"unix:{path}"))
    assert pid_file.read_text().split()[0] == str(after.pid)
    assert ask(faulty, after)
    assert after.stop() == 0
    assert not path.exists()


def open_files(pid: int | str) -> list[str]:
    place = Path(f"/proc/{pid}/fd")
    return sorted(re.sub(r":\[\d+\]|\(deleted\)", "", os.readlink(each)).strip() for each in place.iterdir())


def test_no_process_has_descriptors_of_another_one_and_reloads_leave_none(faulty: Faulty) -> None:
    server = start(faulty, workers=2)
    with SteadyLoad(server, clients=1) as load:
        load.all_serve(2)
    before = open_files(server.pid)
    for number in range(2, 6):
        server.send_signal(signal.SIGHUP)
        server.wait_for_line(f"reloaded: all workers run generation {number}")
        until_blocking(lambda: len(children(server.pid)) == 3)
    assert open_files(server.pid) == before
    workers = {int(ask(faulty, server).split()[0]) for _ in range(8)}
    template = template_of(server, workers)
    # The listener and the way to the supervisor; the table, of which `mmap` keeps a descriptor as well.
    assert Counter(name for name in open_files(template) if "memfd" in name or name == "socket") == {
        "/memfd:greenserve-workers": 2,
        "socket": 2,
    }
    found = ask(faulty, server, "/program")
    descriptors = [int(number) for number in re.findall(r" (\d+) -> ", found)]
    assert max(descriptors) <= 3, found
    assert "socket" not in found
    assert "memfd" not in found
    assert server.stop() == 0
