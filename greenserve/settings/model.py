"""Every option, once: name, default, kind, unit and help stand together, and everything else derives from here.

A new option is one more field of `Settings`; nothing else has to change for it to be an option of the command line, a
GREENSERVE_ variable, a key of the file, a keyword of `serve()`, a line of `check` and a row of docs/settings.md.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from greenserve.errors import ConfigurationError
from greenserve.settings.access import Access
from greenserve.settings.addresses import Address, TcpAddress
from greenserve.settings.kinds import (
    ADDRESS,
    ADDRESSES,
    AUTO,
    CIPHERS,
    DIRECTORIES,
    FUNCTION,
    GLOBS,
    HEADERS,
    LOG,
    LOG_FIELDS,
    LOG_FORMAT,
    MODE,
    MODULE,
    MOUNTS,
    NAME,
    NETWORKS,
    ORIGINS,
    PATH,
    PATHS,
    PATTERN,
    PORT,
    ROOMS,
    SERVER_NAME,
    SIZE,
    STICKY,
    SWITCH,
    TARGET,
    Kind,
    choice,
    count,
    duration,
    optional,
    subset,
)
from greenserve.settings.log_format import DEFAULT_FIELDS
from greenserve.settings.mounts import Mount
from greenserve.settings.networks import NO_NETWORKS, Networks, parse_networks
from greenserve.settings.other_servers import advice
from greenserve.settings.secrets import conceal
from greenserve.settings.sticky import Sticky
from greenserve.settings.syslog import Syslog

ENVIRONMENT_PREFIX = "GREENSERVE_"
MOST_WORKERS = 256  # each looks at all others when it accepts a connection
FORWARDED_HEADERS = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
)

# Mozilla's "intermediate" profile, guidelines 5.7 (https://wiki.mozilla.org/Security/Server_Side_TLS), without its
# three DHE suites: these want parameters of their own, and each client of today that knows them knows ECDHE. The
# suites of TLS 1.3 are always OpenSSL's three, which are Mozilla's.
MOZILLA_INTERMEDIATE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)


class Source(Enum):
    """Where a value may come from; the earlier ones win."""

    CALL = "call"
    COMMAND_LINE = "command line"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from: the source, and what it is called there (`--bind`, GREENSERVE_BIND, a file)."""

    source: Source
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.source.value


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of one option apart from its value. `in_call` is False for what only the command can do.

    supervised: it has a meaning with several workers only.
    """

    name: str
    kind: Kind
    help: str
    unit: str
    default: Any
    in_call: bool
    short: str = ""
    supervised: bool = False

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    def written(self, source: Source, value: str) -> str:
        """How the option is written in a source, with a value or what stands for one."""
        if source is Source.COMMAND_LINE:
            return self.flag if self.kind.is_flag else f"{self.flag} {value}"
        if source is Source.ENVIRONMENT:
            return f"{self.variable}={value}"
        quoted = value if self.kind.is_flag or value == "N" else f'"{value}"'
        return f"{self.name} = {quoted}" if source is Source.FILE else f"{self.name}={quoted}"

    def parse(self, value: object, origin: Origin) -> Any:
        """Parse a value that came from `origin`. Raises ConfigurationError: option, origin, value, accepted form."""
        try:
            return self.kind.parse(value)
        except ConfigurationError as error:
            # The name is in the origin for all sources but the file, and there the key is.
            what = f"{self.name} = {self.kind.quote(value)} (from {origin}) is invalid: {error}"
            raise ConfigurationError(f"{conceal(what)}. Accepted: {self.kind.form}") from None


def _option(
    default: Any,
    kind: Kind,
    help: str,
    *,
    unit: str = "",
    in_call: bool = True,
    short: str = "",
    supervised: bool = False,
) -> Any:  # Any: what dataclasses.field() itself pretends to return, so that the field's own annotation counts
    in_call = in_call and not supervised
    metadata = {"kind": kind, "help": help, "unit": unit, "in_call": in_call, "short": short, "supervised": supervised}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a server. Made by `from_kwargs` and `resolve`, which parse; the constructor trusts its values."""

    bind: tuple[Address, ...] = _option(
        (TcpAddress("127.0.0.1", 8000),), ADDRESSES, "Where to listen; may be given several times.", short="-b"
    )
    socket_mode: int | None = _option(
        None,
        optional(MODE),
        "The permissions of Unix sockets; users with write permission may connect. By default the umask decides.",
    )
    socket_group: str | None = _option(
        None, optional(NAME), "The group of Unix sockets (its name or number), such as a reverse proxy's."
    )
    socket_user: str | None = _option(
        None, optional(NAME), "The owner of Unix sockets (its name or number); only root may set it."
    )
    tls_cert: tuple[str, ...] = _option(
        (),
        PATHS,
        "A PEM file with a certificate, and its issuers behind it. TCP addresses speak TLS then, unless they begin "
        "with http://. Several, each with its key, serve several names; the first one is the default.",
    )
    tls_key: tuple[str, ...] = _option(
        (), PATHS, "The PEM files of the private keys, in the order of tls_cert; not needed for keys that are in there."
    )
    tls_key_password_file: str | None = _option(
        None, optional(PATH), "A file whose first line is the password of encrypted private keys."
    )
    tls_client_ca: str | None = _option(
        None, optional(PATH), "A PEM file with the authorities whose certificates clients may show."
    )
    tls_client_verify: str = _option(
        "none",
        choice("none", "optional", "required"),
        "Whether clients show a certificate of tls_client_ca; one that is not valid ends the connection in any case.",
    )
    tls_min_version: str = _option("1.2", choice("1.2", "1.3"), "The lowest version of TLS that is spoken.")
    tls_ciphers: str = _option(
        MOZILLA_INTERMEDIATE, CIPHERS, "The cipher suites for TLS 1.2, as OpenSSL writes them; by default Mozilla's."
    )
    tls_context: str | None = _option(
        None,
        optional(FUNCTION),
        "A function that is given each ssl.SSLContext that these options make, and returns it, or another one.",
    )
    redirect_https: Address | None = _option(  # noqa: RUF009 - an address is frozen
        None, optional(ADDRESS), "An address that speaks plain HTTP and redirects (308) to the same URL with https."
    )
    redirect_https_port: int | None = _option(
        None,
        optional(PORT),
        "The port in the URLs of redirect_https; by default that of the first address that speaks TLS.",
    )
    acme_dir: str | None = _option(
        None,
        optional(PATH),
        "The webroot whose .well-known/acme-challenge/ redirect_https serves, for certbot and the like.",
    )
    tls_handshake_timeout: float = _option(
        10.0, duration(), "The longest wait for a client to complete its TLS handshake.", unit="s"
    )
    trusted_proxies: Networks = _option(  # noqa: RUF009 - networks are frozen
        parse_networks(["127.0.0.0/8", "::1", "unix"]),
        NETWORKS,
        "Proxies that are believed what they say of the client; may be given several times. From all others "
        "the fields that say it are removed.",
    )
    forwarded_headers: tuple[str, ...] = _option(
        FORWARDED_HEADERS,
        subset(*FORWARDED_HEADERS),
        "The fields by which trusted proxies say it; the others are removed. Leave out what yours neither sets nor "
        "removes, because then the client could.",
    )
    proxy_protocol: bool = _option(
        False,
        SWITCH,
        "Each connection begins with a PROXY header (version 1 or 2) of a trusted proxy; without one it is closed.",
    )
    concurrency: int = _option(
        2000,
        count(),
        "The most requests in progress at once in a worker; further ones wait their turn.",
        unit="requests",
    )
    workers: int | None = _option(
        1,
        optional(count(most=MOST_WORKERS), "auto"),
        "How many processes serve; auto: one for each processor that this process may use (affinity, and the quota of "
        "its control group). One is without a supervisor; by default WEB_CONCURRENCY counts, which platforms set.",
        unit="processes",
        in_call=False,
        short="-w",
    )
    preload: bool = _option(
        True,
        SWITCH,
        "Load the application once, and fork the workers of it; else each loads it by itself.",
        supervised=True,
    )
    worker_timeout: float = _option(
        30.0,
        duration(zero=True),
        "How long a worker's hub may be blocked; then the log shows by what, and it is replaced. 0: for ever.",
        unit="s",
        supervised=True,
    )
    load_timeout: float = _option(
        300.0,
        duration(zero=True),
        "How long the application may take to be loaded, with several workers; then the log shows where it hangs, and "
        "the code of before goes on, if there is one. 0: for ever.",
        unit="s",
        supervised=True,
    )
    ready_path: str | None = _option(
        None,
        optional(TARGET),
        "A path, such as /ready, that a worker asks itself for before it accepts connections, until its application "
        "answers with 2xx. The request has `Host: localhost`.",
    )
    ready_timeout: float = _option(
        60.0, duration(), "How long it may take until then; after that the worker ends, and a reload fails.", unit="s"
    )
    max_requests: int | None = _option(
        None,
        optional(count()),
        "Replace a worker after so many requests, when its successor is ready.",
        unit="requests",
        supervised=True,
    )
    max_requests_jitter: int = _option(
        0, count(least=0), "Up to how many more, by chance, so that workers differ.", unit="requests", supervised=True
    )
    max_worker_age: float | None = _option(
        None, optional(duration()), "Replace a worker after so long.", unit="s", supervised=True
    )
    max_worker_memory: int | None = _option(
        None, optional(SIZE), "Replace a worker that holds more memory (resident).", unit="bytes", supervised=True
    )
    reload: bool = _option(
        False,
        SWITCH,
        "For development: serve new code as soon as a file of it is saved, and in the place of code that cannot be "
        "loaded a page that says why. Watches Python files and templates; by events with `pip install watchfiles`.",
        in_call=False,
    )
    reload_include: tuple[str, ...] = _option(
        (),
        GLOBS,
        "With reload: further files to watch. A glob with a slash is for the path, else for the name.",
        in_call=False,
    )
    reload_exclude: tuple[str, ...] = _option(
        (), GLOBS, "With reload: files, and directories with all in them, that are not watched.", in_call=False
    )
    reload_dir: tuple[str, ...] = _option(
        (),
        DIRECTORIES,
        "With reload: the directories to watch instead of the working directory. Where else the application's modules "
        "are from is watched in any case, but neither installed packages nor hidden directories.",
        in_call=False,
    )
    drain_spread: float = _option(
        5.0,
        duration(zero=True),
        "Over how long a worker that is replaced closes its WebSockets (1012), so that their clients do not come again "
        "all at once; half of graceful_timeout at most.",
        unit="s",
        supervised=True,
    )
    hooks: str | None = _option(
        None,
        optional(MODULE),
        "Call functions of this module as processes begin and end: when_ready, post_fork, worker_exit and others that "
        "gunicorn has; its gunicorn.conf.py will do.",
        in_call=False,
    )
    sticky: Sticky | None = _option(  # noqa: RUF009 - a Sticky is frozen
        None,
        optional(STICKY),
        "Have every request of a session served by one worker; what names a session: sid for Socket.IO.",
        supervised=True,
    )
    backlog: int = _option(
        2048,
        count(),
        "The most connections that wait in the kernel to be accepted (Linux caps it at net.core.somaxconn).",
        unit="connections",
    )
    max_connections: int | None = _option(
        None,
        optional(count(), "auto"),
        "The most connections at once. Beyond them idle ones give way, the longest idle first; if none is, "
        "new ones wait a second and then get 503. "
        "auto: as many as open files (ulimit -n) allow, and half of the memory if each brings a head of max_head. "
        "Divided among workers.",
        unit="connections",
    )
    max_connections_per_client: int | None = _option(
        None,
        optional(count(), "auto"),
        "The most connections of one client at once, which is an IPv4 address or an IPv6 /64; a further one gets 503. "
        "auto: a quarter of max_connections, and none for private networks (10.0.0.0/8 and the like). Divided among "
        "workers, with some room for chance.",
        unit="connections",
    )
    max_connections_per_client_exempt: Networks = _option(  # noqa: RUF009 - networks are frozen
        NO_NETWORKS,
        NETWORKS,
        "Clients that have no such limit: load balancers, monitors, offices behind one address. trusted_proxies and "
        "the clients of Unix sockets are never limited so.",
    )
    max_queue: int | None = _option(
        None,
        optional(count(least=0)),
        "The most requests that wait for their turn in a worker, beyond concurrency; a further one gets 503. By "
        "default those of all connections may wait.",
        unit="requests",
    )
    header_timeout: float = _option(
        10.0, duration(), "The longest wait for a complete request head, from its first byte.", unit="s"
    )
    body_timeout: float = _option(30.0, duration(), "The longest wait for the next bytes of a request body.", unit="s")
    body_min_rate: int = _option(
        500,
        count(least=0),
        "The lowest rate of a request body once 10 s have been spent waiting for it in total; 0 for no limit.",
        unit="bytes/s",
    )
    keepalive_timeout: float = _option(
        75.0,
        duration(zero=True),
        "How long an idle connection is kept open for its next request; 0 closes it after each response.",
        unit="s",
    )
    max_requests_per_connection: int | None = _option(
        None,
        optional(count(least=0)),
        "How many requests a connection may bring before it is closed; 0 or none for no limit.",
        unit="requests",
    )
    write_timeout: float = _option(
        60.0,
        duration(),
        "The longest wait for a client to take the next bytes of a response, or of what a WebSocket sends.",
        unit="s",
    )
    server_header: str | None = _option(
        "greenserve",
        SERVER_NAME,
        "The Server field of responses that do not set it themselves: on, off, or a text of your own.",
    )
    date_header: bool = _option(True, SWITCH, "Send the Date field, unless a response sets it itself.")
    header: tuple[tuple[str, str], ...] = _option(
        (), HEADERS, "A header field for each response that does not set it itself; may be given several times."
    )
    early_hints: str = _option(
        "direct",
        choice("direct", "always", "never"),
        "Which requests get the application's 103 responses: direct for those that no proxy has passed on, since nginx "
        "before 1.29 takes a 103 for the response itself.",
    )
    error_pages: str | None = _option(
        None,
        optional(PATH),
        "A directory with pages of your own for the server's errors, such as 500.html; the others stay as they are.",
    )
    graceful_timeout: float = _option(
        30.0, duration(zero=True), "How long requests in progress may take to finish once the server stops.", unit="s"
    )
    drain_delay: float = _option(
        0.0,
        duration(zero=True),
        "How long SIGTERM lets the server go on, each request being its connection's last, before it begins to stop: "
        "the time in which a load balancer (Kubernetes) learns that it sends no more.",
        unit="s",
    )
    max_unsent: int | None = _option(
        None,
        optional(SIZE, "auto"),
        "The most memory for responses that clients have not taken yet, of all together. From a quarter of it on, "
        "clients that take less than 16 KiB/s are cut off; beyond it those that have taken least. auto: an eighth of "
        "the memory, at least 256M. Divided among workers.",
        unit="bytes",
    )
    max_head: int = _option(65536, SIZE, "The largest request head: request line and header fields.", unit="bytes")
    max_header_count: int = _option(128, count(), "The most header fields in a request.", unit="fields")
    max_target: int = _option(16384, SIZE, "The longest request target (path and query).", unit="bytes")
    max_body: int | None = _option(
        32 * 1024 * 1024,
        optional(SIZE),
        "The largest request body; raise it for an application that takes larger uploads. The application may have a "
        "lower limit of its own.",
        unit="bytes",
    )
    buffer_chunked: int | None = _option(
        1024**3,
        optional(SIZE),
        "The largest chunked request body that is buffered before the application is called, which then gets its "
        "length; a part above 64K goes to a temporary file. none: the application reads it as it comes.",
        unit="bytes",
    )
    buffer_chunked_total: int = _option(
        4 * 1024**3,
        SIZE,
        "The most bytes of such bodies, of all clients together, that are held in temporary files at once. Divided "
        "among workers, each of which can hold one of buffer_chunked.",
        unit="bytes",
    )
    ws_origin: tuple[str, ...] = _option(
        ("same-origin",), ORIGINS, "Pages that may open a WebSocket; may be given several times."
    )
    ws_max_message: int | None = _option(
        1024 * 1024, optional(SIZE), "The largest WebSocket message, after decompression.", unit="bytes"
    )
    # Room for a hundred unfinished messages of the largest size; a small machine has 512 MiB.
    ws_max_memory: int | None = _option(
        128 * 1024 * 1024,
        optional(SIZE),
        "The most that all WebSockets together may hold of messages that were not received yet; several times "
        "ws_max_message. Beyond it the WebSocket that holds the most is closed (1013). Divided among workers.",
        unit="bytes",
    )
    ws_ping_interval: float = _option(
        20.0, duration(zero=True), "Silence after which a WebSocket is pinged; 0 for never.", unit="s"
    )
    ws_ping_timeout: float = _option(
        20.0,
        duration(),
        "How long a pinged WebSocket may send neither the Pong nor data before it is dropped.",
        unit="s",
    )
    ws_compression: bool = _option(True, SWITCH, "Offer permessage-deflate to WebSocket clients.")
    rooms: str | None = _option(
        AUTO,
        optional(ROOMS),
        "Share rooms of WebSockets with the other processes that have the same value here. `auto`: the workers of this "
        "server share them with one another, and with no other process; `none`: each process has its own.",
    )
    static: tuple[Mount, ...] = _option(
        (),
        MOUNTS,
        "Serve the files of a directory below a prefix of the path, in front of the application, which answers what is "
        "not there; may be given several times. `none` for no directory.",
    )
    static_max_age: float = _option(
        0.0,
        duration(zero=True),
        "How long clients may use a static file without asking again; 0: they ask each time, and are answered briefly.",
        unit="s",
    )
    static_immutable: str = _option(
        r"(?:\.|-)(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,64}\.[^/]*$",
        PATTERN,
        "Found in the path of a static file, it says that the file never changes: clients keep it for a year. By "
        "default it is a hash of at least 8 hexadecimal digits behind a dot or hyphen, as in app.3f9a2b1c.js.",
    )
    access_log: str | Syslog | None = _option(  # noqa: RUF009 - a Syslog is frozen
        None,
        optional(LOG),
        "Write a line for each request to this file, to standard output for `-`, or to the system log.",
    )
    access_log_format: str = _option(
        "combined", LOG_FORMAT, "What a line of the access log looks like; docs/serve.md has the directives."
    )
    access_log_fields: tuple[str, ...] = _option(
        DEFAULT_FIELDS, LOG_FIELDS, "The fields of a JSON line, in order; may be given several times."
    )
    log_buffer: int = _option(
        8 << 20,
        SIZE,
        "The most text of each log that waits for the disk or a slow reader; further lines are dropped and counted, "
        "so that a log never holds up a request.",
        unit="bytes",
    )
    log_level: str = _option(
        "info", choice("debug", "info", "warning", "error", "critical"), "The lowest severity that is logged."
    )
    patch: bool = _option(
        True, SWITCH, "Make the standard library's blocking calls green before the application loads.", in_call=False
    )
    chdir: str | None = _option(
        None, optional(PATH), "Change to this directory first; other relative paths start there.", in_call=False
    )
    umask: int | None = _option(
        None,
        optional(MODE),
        "The permissions that files and Unix sockets made by the server and the application do not get, such as 007; "
        "by default the umask of the shell or the supervisor.",
        in_call=False,
    )
    user: str | None = _option(
        None,
        optional(NAME),
        "The user (its name or number) to become before the application is imported. Root opens the addresses, the "
        "certificates and the pid file before.",
        in_call=False,
    )
    group: str | None = _option(
        None, optional(NAME), "The group that goes with user; by default the user's own.", in_call=False
    )
    pid_file: str | None = _option(
        None,
        optional(PATH),
        "A file for the number of the process, written when it listens and removed at the end. A file of a process "
        "that lives is an error; one of a process that has gone is replaced.",
        in_call=False,
        short="-p",
    )
    env_file: tuple[str, ...] = _option(
        (),
        PATHS,
        "Files of KEY=VALUE lines for the environment of the application and of these settings; what the environment "
        "has already stays. Relative paths start where the command is started; may be given several times.",
        in_call=False,
    )

    @property
    def socket_access(self) -> Access:
        """Of Unix sockets whose addresses do not say it."""
        return Access(self.socket_mode, self.socket_user or self.user, self.socket_group or self.group)

    @classmethod
    def from_kwargs(cls, **kwargs: object) -> Self:
        """Parse the keywords of a library call; values may be text in an option's accepted form, or native.

        Raises ConfigurationError for an unknown keyword (naming the near match), for a bad value, and for what only the
        command can do (`patch`, `chdir`): to ignore these would be to promise what never happens.
        """
        values = {}
        for name, value in kwargs.items():
            option = OPTIONS.get(name)
            if option is None:
                known = {each.name: each.name for each in OPTIONS.values() if each.in_call}
                raise unknown_option(name, f"the keyword {name}", known, Source.CALL)
            if option.supervised or name == "workers":
                command = f"greenserve MODULE:APPLICATION {option.written(Source.COMMAND_LINE, option.kind.metavar)}"
                raise ConfigurationError(
                    f"{name} is an option of the command, since a program is one process: {command}"
                )
            if not option.in_call:
                raise ConfigurationError(f"{name} is an option of the command alone; a program does that by itself")
            values[name] = option.parse(value, Origin(Source.CALL, f"{name}="))
        return cls(**values)

    def shown(self) -> dict[str, str]:
        """Every value as text that parses back to the same value (except passwords), by option name."""
        return {option.name: option.kind.show(getattr(self, option.name)) for option in OPTIONS.values()}


def unknown_option(name: str, what: str, known: Mapping[str, str], source: Source) -> ConfigurationError:
    """The error for `what`, a name that is not an option. known: name to compare with -> name in the text."""
    hint = instead(name, source)
    if hint is None:
        near = near_match(name, known)
        hint = f"did you mean {near}?" if near else "known are " + ", ".join(sorted(known.values()))
    return ConfigurationError(f"{what} is not an option of greenserve; {hint}")


def instead(name: str, source: Source) -> str | None:
    """What to write in `source` for an option of another server; None when none has that name."""
    return advice(name, lambda option, value: OPTIONS[option].written(source, value))


def near_match(name: str, known: Mapping[str, str]) -> str | None:
    """The text for the known name most like `name`; None when none is near."""
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return known[matches[0]] if matches else None


OPTIONS: dict[str, Option] = {
    field.name: Option(name=field.name, default=field.default, **field.metadata)
    for field in dataclasses.fields(Settings)
}
