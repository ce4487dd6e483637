"""A server as a child process: it is awaited, looked at and never left behind."""

import socket
import sys

import pytest

from benchmarks import run
from benchmarks.process import ServerFailed, cores, free_port, running, started

SERVER = "import http.server, sys; http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), None).serve_forever()"
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[2], sys.argv[1]])"


def start(tmp_path, *command):
    port = free_port()
    filled = [sys.executable, "-c", *(word.replace("PORT", str(port)) for word in command)]
    return running(filled, port, cores()[0], tmp_path / "log")


def test_a_server_and_its_children_are_ended_also_when_the_body_fails(tmp_path):
    seen = []

    def break_off():
        with start(tmp_path, PARENT, "PORT", SERVER) as server:
            seen.append(server)
            raise RuntimeError("the load broke")

    with pytest.raises(RuntimeError, match="the load broke"):
        break_off()
    assert seen[0].process.returncode is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", seen[0].port))
    assert seen[0].memory_kib() == 0


def test_memory_and_time_are_those_of_the_whole_tree(tmp_path):
    with start(tmp_path, SERVER, "PORT") as single:
        alone = single.memory_kib()
    with start(tmp_path, PARENT, "PORT", SERVER) as double:
        assert double.memory_kib() > alone
        used = double.processor_time()
        assert 0 < used.user <= sum(used) <= double.cpu_seconds()


def test_a_server_has_the_environment_that_it_is_given(tmp_path):
    told = "import os, sys; sys.exit(os.environ['GREENSERVE_CODEC'] + ' was given')"
    giving = started([sys.executable, "-c", told], free_port(), cores()[0], tmp_path / "log", {"GREENSERVE_CODEC": "x"})
    with giving as server:
        server.process.wait(10)
        with pytest.raises(ServerFailed, match="x was given"):
            server.expect_alive()


def test_a_server_that_ends_at_once_fails_with_its_last_word(tmp_path):
    failing = start(tmp_path, "import sys; print('no such application'); sys.exit(3)")
    with pytest.raises(ServerFailed, match="ended with code 3: no such application"), failing:
        pytest.fail("a server that ended is taken for a running one")


def test_without_wrk_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(run.shutil, "which", lambda _: None)
    assert run.main(["--quick"]) == 2
    assert "apt-get install wrk" in capsys.readouterr().err
