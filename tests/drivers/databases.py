"""A real PostgreSQL, MariaDB and Redis, each of the test's own: on a free port, with nothing kept, ended by its pid."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import missing, require_program, unused_port

START_SECONDS = 40.0


def user_of(name: str) -> dict[str, Any]:
    """Popen's arguments to run as `name`, who is there because the package made him; root alone needs that."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        missing(f"there is no user {name}, and the server refuses to run as root")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def directory_for(user: dict[str, Any]) -> Iterator[Path]:
    """A directory that is the user's: pytest's own belongs to root, and nobody else may enter it."""
    path = Path(tempfile.mkdtemp(prefix="drivers-"))
    try:
        if user:
            os.chown(path, user["user"], user["group"])
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running(command: list[str], port: int, log: Path, stop: signal.Signals, **options: Any) -> Iterator[None]:
    """A server, from when it accepts connections."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **options
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < deadline, log.read_text(errors="replace")
                threading.Event().wait(0.05)
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _postgresql_program(name: str) -> str:
    """Debian keeps the server's programs out of PATH."""
    candidates = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (
        str(candidates[-1]) if candidates else missing(f"the program {name} is not installed")
    )


@contextmanager
def postgresql() -> Iterator[str]:
    """Its URL, postgresql://USER@HOST:PORT/DATABASE."""
    initdb, server = _postgresql_program("initdb"), _postgresql_program("postgres")
    user = user_of("postgres")
    with directory_for(user) as directory:
        data, port = directory / "data", unused_port()
        subprocess.run(
            [initdb, "-D", str(data), "-A", "trust", "-U", "green", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=directory,
            **user,
        )
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": directory,
            "max_connections": 300,
            "shared_buffers": "32MB",
            "fsync": "off",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
        with running(
            [server, "-D", str(data), *words], port, directory.with_suffix(".log"), signal.SIGINT, cwd=directory, **user
        ):
            yield f"postgresql://green@127.0.0.1:{port}/postgres"
        directory.with_suffix(".log").unlink()


@contextmanager
def mariadb() -> Iterator[str]:
    """Its URL, mysql://USER@HOST:PORT/DATABASE."""
    install, server = require_program("mariadb-install-db"), require_program("mariadbd")
    user = user_of("mysql")
    with directory_for(user) as directory:
        data, port = directory / "data", unused_port()
        subprocess.run(
            [
                *(install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"),
                *("--skip-test-db", "--skip-name-resolve"),
            ],
            check=True,
            capture_output=True,
            cwd=directory,
            **user,
        )
        command = [
            *(server, "--no-defaults", f"--datadir={data}", f"--port={port}", f"--socket={directory}/socket"),
            *(
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                "--max-connections=400",
                f"--pid-file={directory}/pid",
            ),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M"),
        ]
        with running(command, port, directory.with_suffix(".log"), signal.SIGTERM, cwd=directory, **user):
            yield f"mysql://root@127.0.0.1:{port}/mysql"
        directory.with_suffix(".log").unlink()
