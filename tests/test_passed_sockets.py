"""Sockets that systemd passes: what the variables mean, what bind becomes, and systemd's program that passes them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import requests

from greenserve.errors import ConfigurationError
from greenserve.settings import FdAddress, PassedSockets, TcpAddress, resolve
from tests.conftest import require_program
from tests.e2e.server_process import ServerProcess, asked_over_unix, run_command

OURS = {"LISTEN_PID": str(os.getpid())}
TWO = OURS | {"LISTEN_FDS": "2"}


@pytest.mark.parametrize(
    ("environ", "fds", "names"),
    [
        ({}, (), ()),
        (TWO, (3, 4), ()),
        (TWO | {"LISTEN_FDNAMES": "web:admin"}, (3, 4), ("web", "admin")),
        (TWO | {"LISTEN_PID": str(os.getppid())}, (), ()),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:admin"}, (), ()),
        *((OURS | {"LISTEN_FDS": number}, (), ()) for number in ("", "0", "-1", "x", "²", "99999", " 1")),
    ],
)
def test_the_variables_name_descriptors_if_they_are_meant_for_this_process(environ, fds, names):
    given = environ | {"HOME": "/root"}
    assert PassedSockets.read(given) == PassedSockets.take(given) == PassedSockets(fds, names)
    assert given == {"HOME": "/root"}


def test_without_bind_all_passed_sockets_are_listened_on_and_check_says_where_they_come_from(tmp_path):
    found = resolve({}, TWO | {"PORT": "80"}, tmp_path)
    assert found.settings.bind == (FdAddress(3), FdAddress(4))
    assert str(found.origins["bind"]) == "environment: LISTEN_FDS"
    named = resolve({}, TWO | {"LISTEN_FDNAMES": "web:admin"}, tmp_path)
    assert str(named.origins["bind"]) == "environment: LISTEN_FDS, web, admin"
    assert found.warnings == ()


def test_sockets_of_another_process_are_ignored(tmp_path):
    found = resolve({}, TWO | {"LISTEN_PID": str(os.getppid())}, tmp_path)
    assert found.settings.bind == (TcpAddress("127.0.0.1", 8000),)


def test_the_socket_of_redirect_https_is_not_one_of_bind(tmp_path):
    found = resolve({"redirect_https": "fd://3"}, TWO, tmp_path)
    assert found.settings.bind == (FdAddress(4),)
    assert found.warnings == ()


@pytest.mark.parametrize("option", ["bind", "redirect_https"])
def test_an_address_that_was_not_passed_is_an_error_that_says_which_were(tmp_path, option):
    value = ["fd://5"] if option == "bind" else "fd://5"
    with pytest.raises(ConfigurationError) as caught:
        resolve({option: value}, TWO, tmp_path)
    flag = "--" + option.replace("_", "-")
    assert f"{option} = fd://5 (from {flag}): the sockets that were passed (LISTEN_FDS) are fd://3, fd://4." in str(
        caught.value
    )


@pytest.mark.parametrize(("bind", "unused"), [(["fd://4"], "fd://3"), (["127.0.0.1:80"], "fd://3, fd://4")])
def test_a_passed_socket_that_is_left_out_is_a_warning(tmp_path, bind, unused):
    (warning,) = resolve({"bind": bind}, TWO, tmp_path).warnings
    assert f"bind (from --bind) leaves out {unused} of the sockets" in warning


def test_a_descriptor_may_be_named_without_systemd(tmp_path):
    assert resolve({"bind": ["fd://7"]}, {}, tmp_path).settings.bind == (FdAddress(7),)


APPLICATION = """
import os, subprocess, sys

CODE = "import os; print([name for name in os.environ if name.startswith('LISTEN')], end='')"
CHILDS = subprocess.run([sys.executable, "-c", CODE], capture_output=True).stdout
INHERITABLE = [fd for fd in (3, 4) if os.get_inheritable(fd)]

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [CHILDS, b" %r" % INHERITABLE]
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_systemds_own_program_passes_two_sockets_and_both_are_served(
    tmp_path: Path, free_port: int, workers: str
) -> None:
    path = str(tmp_path / "http.sock")
    (tmp_path / "passed.py").write_text(APPLICATION)
    listen = [f"--listen=127.0.0.1:{free_port}", f"--listen={path}", "--fdname=web:proxy", "--setenv=PYTHONPATH"]
    program = require_program("systemd-socket-activate")
    command = (program, *listen, sys.executable, "-m", "greenserve")
    server = ServerProcess("passed:app", "--workers", workers, bind=(), executable=command, cwd=tmp_path)
    server.launch()
    try:
        server.wait_for_line(r"Listening on .* as 4")
        # The first client is what starts it.
        assert requests.get(f"http://127.0.0.1:{free_port}/", timeout=30).text == "[] []"
        assert asked_over_unix(path).endswith(b"[] []")
        server.wait_for_line("listening on unix:")
        health = run_command("health", "--pid", str(server.pid))
        assert health.stdout.splitlines() == [
            f"127.0.0.1:{free_port} answers with 200",
            f"unix:{path} answers with 200",
        ]
        assert server.stop() == 0
    finally:
        server.kill()
    assert os.path.exists(path), "the socket is its opener's"
