"""The one way in which tests start the command as a process: started, awaited by its own words, stopped by its pid.

Laws: nothing here sleeps (threads read the pipes and wake whoever waits for a line), nothing is left behind (the
process has a group of its own, and leaving the context kills what is left of it), and whatever goes wrong is
reported together with all that the process has said.

    with ServerProcess("examples.hello_wsgi:app") as server:
        assert requests.get(server.url + "/").status_code == 200
    assert server.returncode == 0
    assert "Traceback" not in server.output
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

from tests.conftest import is_of_an_option

REPOSITORY = Path(__file__).resolve().parents[2]

READY_TIMEOUT = 30.0  # seconds; a loaded two-core machine importing Django needs several
STOP_TIMEOUT = 20.0  # seconds from the signal to the exit; above this the process is killed and the test fails

_LISTENING = re.compile(r"listening on (\S+)")


class ServerFailed(AssertionError):
    """The process ended, or kept silent, when it should not have. Its text carries all that the process said."""


class ServerProcess:
    """`python -m greenserve ARGUMENTS` as a process of its own; a context manager.

    arguments: what follows the command's name, such as `"examples.hello_wsgi:app", "--concurrency", "10"`.
    bind: the addresses to bind, each passed as `--bind`; the default lets the system choose a free port. An empty
        tuple passes none (for options given by environment or file).
    env: variables on top of this process's own. A value of None removes the variable.
    cwd: the directory to start in; the repository's root by default.
    pass_fds: descriptors that the process inherits.
    executable: the words that come before the arguments; `python -m greenserve` of this interpreter by default.
    ready_timeout: seconds until "listening on ADDRESS" must have been logged once for each `bind` (once, if none).

    Entering starts the process and waits until it listens. Raises ServerFailed if it exits or keeps silent instead.
    Leaving stops it with SIGTERM when it still runs, and kills its whole group when a test has failed.
    """

    def __init__(
        self,
        *arguments: str,
        bind: tuple[str, ...] = ("127.0.0.1:0",),
        env: dict[str, str | None] | None = None,
        cwd: Path | str = REPOSITORY,
        pass_fds: tuple[int, ...] = (),
        executable: tuple[str, ...] = (sys.executable, "-m", "greenserve"),
        ready_timeout: float = READY_TIMEOUT,
    ) -> None:
        binds = [word for address in bind for word in ("--bind", address)]
        self.command = [*executable, *arguments, *binds]
        self._listeners = max(1, len(bind))
        self._env = _environment(env or {})
        self._cwd = cwd
        self._pass_fds = pass_fds
        self._ready_timeout = ready_timeout
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._news = threading.Condition()
        self._lines: list[tuple[str, str]] = []  # (stream name, line without its end), in the order of arrival
        self._open_streams = 0

    # -- life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self.kill()
        elif self.running:
            self.stop()
        else:
            self.kill()  # the leader has gone; its children may not have

    def start(self) -> None:
        """Start the process and wait until it listens on every address. Raises ServerFailed."""
        self.launch()
        try:
            self.wait_for_line(_LISTENING, count=self._listeners, timeout=self._ready_timeout)
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Start the process without waiting for anything: for commands that should refuse to start."""
        self._process = subprocess.Popen(
            self.command,
            cwd=self._cwd,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            bufsize=1,
            pass_fds=self._pass_fds,
            start_new_session=True,  # a group of its own: its children can be killed with it, and nobody else
        )
        streams = [("stdout", self._process.stdout), ("stderr", self._process.stderr)]
        self._open_streams = len(streams)
        for name, stream in streams:
            assert stream is not None
            reader = threading.Thread(target=self._read, args=(name, stream), name=f"reads {name}", daemon=True)
            reader.start()
            self._readers.append(reader)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself (not to its group), by pid."""
        self._started().send_signal(number)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """Wait for the process to exit by itself; its exit code. Raises ServerFailed after `timeout` seconds."""
        try:
            code = self._started().wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._failure(f"did not exit within {timeout:g} s and was killed") from None
        self._drain()
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> int:
        """Ask the process to end, and wait until it has. Its exit code. Raises ServerFailed after `timeout` seconds."""
        if self.running:
            self.send_signal(number)
        return self.wait(timeout)

    def kill(self) -> None:
        """Kill the process and every child of it, and wait until it is gone. Harmless when it has ended."""
        process = self._process
        if process is None:
            return
        # A group's number is not given away while a member lives. Once the leader was awaited, only pipes that are
        # still open tell of living members; without them the number may belong to somebody else by now.
        if process.returncode is None or self._open_streams:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
        self._drain()

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def returncode(self) -> int | None:
        """The exit code; negative for a signal, as in subprocess; None while it runs."""
        return self._started().poll()

    @property
    def addresses(self) -> list[str]:
        """What it has said that it listens on, in order, in its own spelling: `http://127.0.0.1:40123`."""
        return [found[1] for found in map(_LISTENING.search, self.output.splitlines()) if found]

    @property
    def url(self) -> str:
        """The first http(s) address, without a slash at its end."""
        for address in self.addresses:
            if address.startswith(("http://", "https://")):
                return address.rstrip("/")
        raise self._failure("has not named an http address")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """A TCP connection to the first http address, for requests that no client library would send."""
        return socket.create_connection((self.host, self.port), timeout)

    # -- what it says -------------------------------------------------------------------------------------------

    @property
    def output(self) -> str:
        """All lines of stdout and stderr so far, in the order of their arrival."""
        with self._news:
            return "\n".join(line for _, line in self._lines)

    @property
    def stdout(self) -> str:
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        return self._stream("stderr")

    def wait_for_line(
        self, pattern: str | re.Pattern[str], *, count: int = 1, timeout: float = 10.0
    ) -> list[re.Match[str]]:
        """Wait until `count` lines contain the pattern (a regular expression), those said already included.

        Returns their matches. Raises ServerFailed when the process ends or `timeout` seconds pass before that.
        """
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                found = [match for _, line in self._lines if (match := wanted.search(line))]
                if len(found) >= count:
                    return found
                if not self._open_streams:
                    reason = f"ended before it said {wanted.pattern!r} ({count} times wanted, {len(found)} seen)"
                    break
                if not self._news.wait(deadline - time.monotonic()):
                    reason = f"did not say {wanted.pattern!r} within {timeout:g} s"
                    break
        raise self._failure(reason)

    # -- inside -------------------------------------------------------------------------------------------------

    def _read(self, name: str, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._lines.append((name, line.rstrip("\n")))
                    self._news.notify_all()
        with self._news:
            self._open_streams -= 1
            self._news.notify_all()

    def _drain(self) -> None:
        # A grandchild that got away with a copy of the pipe must not hold the test up: hence the limit.
        for reader in self._readers:
            reader.join(5.0)

    def _stream(self, wanted: str) -> str:
        with self._news:
            return "\n".join(line for name, line in self._lines if name == wanted)

    def _started(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the server process was not started: use it as a context manager"
        return self._process

    def _failure(self, what: str) -> ServerFailed:
        process = self._process
        state = "never started" if process is None else f"exit code {process.poll()}"
        said = self.output or "(nothing)"
        return ServerFailed(f"{' '.join(self.command)}\n{what}; {state}. It said:\n{said}")


def run_command(
    *arguments: str,
    env: dict[str, str | None] | None = None,
    cwd: Path | str = REPOSITORY,
    executable: tuple[str, ...] = (sys.executable, "-m", "greenserve"),
    timeout: float = READY_TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself (`check`, `--version`, a refusal to start) and return what it said.

    Raises subprocess.TimeoutExpired after `timeout` seconds; the process is killed then.
    """
    return subprocess.run(
        [*executable, *arguments],
        cwd=cwd,
        env=_environment(env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def _environment(changes: dict[str, str | None]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not is_of_an_option(name)}
    inherited["PYTHONUNBUFFERED"] = "1"  # whatever was said before a kill is not lost in a buffer
    # `PYTHONPATH=.` would mean another place in another working directory: name where greenserve was found instead.
    spec = find_spec("greenserve")
    places = [str(Path(place).parent) for place in (spec.submodule_search_locations or [])] if spec else []
    others = [place for place in inherited.get("PYTHONPATH", "").split(os.pathsep) if place not in ("", ".")]
    inherited["PYTHONPATH"] = os.pathsep.join([*places, *others])
    for name, value in changes.items():
        if value is None:
            inherited.pop(name, None)
        else:
            inherited[name] = value
    return inherited


def asked_over_unix(path: str) -> bytes:
    """What a server on a Unix socket answers to GET /, head and body; also when it accepts only later."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(path)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with sock.makefile("rb") as answer:
            return answer.read()
