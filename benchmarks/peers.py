"""What is compared: each server's packages and the command that starts it, with one worker process, for a scenario.

Every configuration is what the server's own documentation recommends for the load; what would stop the scenario
(limits of connections, keep-alive seconds, backlogs) is raised. `note` says what was chosen, and so do the results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.scenarios import KERNEL, OURS, PURE

SERVERS = Path(__file__).parent / "servers"
KERNEL_SOURCE = SERVERS / "kernel_alone.c"
KEEP_ALIVE = "75"  # seconds, nginx's default; longer than the idle scenario holds its connections
MANY_CONNECTIONS = "10000"  # above the 5,000 of the idle scenario

ONE_AT_A_TIME = dict.fromkeys(("sleepers", "crowd"), "serves one request at a time, so 20 a second whatever the load")


@dataclass(frozen=True, slots=True)
class Launch:
    """What a command is made from. python: the environment's interpreter. threads: None is the server's own default.
    answer_bytes: what an answer has in the mean, for the one that answers without the application.
    """

    python: str
    app: str
    port: int
    threads: int | None
    answer_bytes: int = 0

    @property
    def address(self) -> str:
        """Where the server is to listen, as HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def launcher(self, name: str, *more: str) -> list[str]:
        """The command that runs servers/run_NAME.py."""
        return [self.python, str(SERVERS / f"run_{name}.py"), self.app, str(self.port), *more]

    def program(self, name: str, *more: str) -> list[str]:
        """The command that runs a program which a package has installed."""
        return [str(Path(self.python).parent / name), *more]

    def module(self, name: str, *more: str) -> list[str]:
        """The command that runs a package's own command line."""
        return [self.python, "-m", name, *more]


@dataclass(frozen=True, slots=True)
class Peer:
    """One server. packages: what pip installs, the server itself first; none for what the checkout has. source: the C
    program that it is instead. unfit: scenario name -> why it has no place. environ: what it has besides. serves:
    whether it answers with what the application says.
    """

    name: str
    packages: tuple[str, ...]
    command: Callable[[Launch], list[str]]
    note: str
    unfit: Mapping[str, str] = field(default_factory=dict, hash=False)
    environ: Mapping[str, str] = field(default_factory=dict, hash=False)
    source: Path | None = None
    serves: bool = True


def greenserve(launch: Launch) -> list[str]:
    """The command, with its own defaults."""
    return launch.module("greenserve", launch.app, "--bind", launch.address)


def gunicorn(worker: str) -> Callable[[Launch], list[str]]:
    """Gunicorn with a kind of worker."""

    def command(launch: Launch) -> list[str]:
        threads = ["--threads", str(launch.threads or 8)] if worker == "gthread" else []
        return launch.module(
            "gunicorn",
            *("--workers", "1", "--worker-class", worker, *threads),
            *("--keep-alive", KEEP_ALIVE, "--worker-connections", MANY_CONNECTIONS, "--backlog", "8192"),
            *("--bind", launch.address, "--log-level", "error", launch.app),
        )

    return command


def waitress(launch: Launch) -> list[str]:
    """Waitress from its own command line. select() ends at descriptor 1,023, hence poll."""
    return launch.module(
        "waitress",
        *("--listen", launch.address, "--threads", str(launch.threads or 4), "--backlog", "8192"),
        *("--connection-limit", MANY_CONNECTIONS, "--asyncore-use-poll", launch.app),
    )


def granian(launch: Launch) -> list[str]:
    """Granian from its own command line."""
    threads = ["--blocking-threads", str(launch.threads)] if launch.threads else []
    host, _, port = launch.address.partition(":")
    return launch.module(
        "granian",
        *("--interface", "wsgi", "--workers", "1", *threads, "--host", host, "--port", port),
        *("--backlog", "8192", "--log-level", "error", launch.app),
    )


def uwsgi(launch: Launch) -> list[str]:
    """uWSGI alone, without a web server in front. `http-socket` would end each connection after one response."""
    return launch.program(
        "uwsgi",
        *("--http11-socket", launch.address, "--wsgi", launch.app, "--processes", "1"),
        *("--threads", str(launch.threads or 8), "--listen", "1024", "--tcp-nodelay", "--disable-logging"),
    )


PEERS = (
    Peer(OURS, (), greenserve, "from this checkout, its own defaults"),
    Peer(
        "eventlet",
        ("eventlet",),
        lambda it: it.launcher("eventlet"),
        "eventlet.wsgi, monkey_patch, TCP_NODELAY, log off",
    ),
    Peer("gevent", ("gevent",), lambda it: it.launcher("gevent"), "pywsgi, patch_all, TCP_NODELAY, log off"),
    Peer(
        "gunicorn gevent",
        ("gunicorn", "gevent", "packaging"),
        gunicorn("gevent"),
        "--worker-class gevent, keep-alive 75 s",
    ),
    Peer(
        "gunicorn gthread",
        ("gunicorn",),
        gunicorn("gthread"),
        "--worker-class gthread, 8 threads (one for each sleeper), keep-alive 75 s",
    ),
    Peer("waitress", ("waitress",), waitress, "4 threads, its default (one for each sleeper), poll"),
    Peer(
        "cheroot",
        ("cheroot",),
        lambda it: it.launcher("cheroot", str(it.threads or 10)),
        "10 threads, its default (one for each sleeper), keep-alive 75 s",
    ),
    Peer(
        "granian",
        ("granian",),
        granian,
        "--interface wsgi, its default threads (a blocking one for each sleeper)",
    ),
    Peer(
        "uwsgi",
        ("uwsgi",),
        uwsgi,
        "http11-socket, 8 threads (one for each sleeper); a connection keeps a thread until it ends, so 8 get all",
        {"idle": "a thread for each connection"},
    ),
    Peer("bjoern", ("bjoern",), lambda it: it.launcher("bjoern"), "no threads", ONE_AT_A_TIME),
    Peer(
        "fastwsgi",
        ("fastwsgi", "setuptools<81"),  # it imports pkg_resources and does not say so; setuptools 81 warns of its end
        lambda it: it.launcher("fastwsgi"),
        "no threads, TCP_NODELAY, log off",
        ONE_AT_A_TIME,
    ),
    Peer(PURE, (), greenserve, "as greenserve, GREENSERVE_CODEC=python", environ={"GREENSERVE_CODEC": "python"}),
    Peer(
        KERNEL,
        (),
        lambda it: it.program(KERNEL_SOURCE.stem, str(it.port), str(it.answer_bytes)),
        "not a server: epoll, recv and send in C, an answer of the same size, nothing parsed",
        source=KERNEL_SOURCE,
        serves=False,
    ),
)

APPLICATION_PACKAGES = ("flask", "django", "falcon")
