"""Eventlet's `wsgi.server`: an application served on a socket that the program has opened.

Strategy: its arguments are translated to settings, and the server is the ordinary one. An argument for what
does not exist here is named in a warning, not ignored: a program that relied on it should know.
"""

from __future__ import annotations

import os
import socket
import ssl
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from greenserve.errors import ConfigurationError
from greenserve.hub.core import report
from greenserve.hub.core.hub import running
from greenserve.server.accesslog import CallLog
from greenserve.server.server import Server
from greenserve.settings import OPTIONS, Settings
from greenserve.tls import FixedContext
from greenserve.wsgi.gateway import Application

# What Eventlet's server takes and this one has no need of: nothing is lost without it.
_NO_NEED = frozenset({"debug", "log_x_forwarded_for", "minimum_chunk_size"})
# What changes its answers or its log there, with the value that is without effect, and what to use here.
_ELSEWHERE = {
    "server_event": (None, "greenserve.Server, with start and stop"),
    "protocol": (None, "a WSGI middleware"),
    "log_format": (None, "access_log_format of greenserve.serve, or a WSGI middleware"),
    "max_http_version": ("HTTP/1.1", "nothing: clients choose the version"),
    "capitalize_response_headers": (True, "nothing: header names are sent as the application writes them"),
}


def server(  # noqa: PLR0913 - Eventlet's own list
    sock: Any,
    site: Application,
    log: Any = None,
    environ: Mapping[str, Any] | None = None,
    max_size: int | None = None,
    *,
    keepalive: bool | float = True,
    socket_timeout: float | None = None,
    url_length_limit: int | None = None,
    custom_pool: Any = None,
    log_output: bool = True,
    **others: Any,
) -> None:
    """Serve the WSGI application `site` on `sock`, which listens already, until this green thread is killed.

    A `sock` made by `wrap_ssl` speaks TLS, by its context.

    In the main OS thread's own greenlet it ends by SIGTERM and SIGINT, too. `sock` stays open.

    log: where a line for each request goes: a logger, something with `write`, None for standard error; log_output:
    False for no lines. environ: further keys for every request. max_size, or the size of custom_pool: the most
    requests in progress. keepalive: seconds that an idle connection is kept, or whether it is. socket_timeout:
    seconds to wait for a client's bytes, and for it to take ours. url_length_limit: of the path and query, in bytes.
    Eventlet's other arguments are taken, and those that would have changed something are named in a warning.

    Raises BindError for a socket that does not listen, ConfigurationError for TLS on a Unix socket.
    """
    _warn_of(others)
    options: dict[str, Any] = {"bind": f"fd://{sock.fileno()}", "keepalive_timeout": _seconds(keepalive)}
    size = max_size or getattr(custom_pool, "size", None)
    if size:
        options["concurrency"] = size
    if socket_timeout:
        options |= dict.fromkeys(("header_timeout", "body_timeout", "write_timeout"), socket_timeout)
        options["keepalive_timeout"] = min(socket_timeout, options["keepalive_timeout"])
    if url_length_limit:
        options["max_target"] = url_length_limit
    write = _writer(log)
    # Not warned when nothing is patched: programs written for Eventlet may import its green modules by name instead.
    settings = replace(Settings.from_kwargs(**options), patch=False)
    serving = Server(_with_environ(site, environ) if environ else site, settings)
    if isinstance(sock, ssl.SSLSocket):  # made by wrap_ssl
        if sock.family == socket.AF_UNIX:
            raise ConfigurationError("wsgi.server speaks TLS over TCP alone: give it the Unix socket without wrap_ssl")
        serving.tls = FixedContext(sock.context)
    if log_output:
        serving.access_log = CallLog(write)

    def announce() -> None:
        if log_output:
            write(f"({os.getpid()}) wsgi starting up on {serving.url}\n")

    greenlet = running()
    serving.serve_forever(announce, signals=greenlet is greenlet.hub.main)


def _warn_of(others: dict[str, Any]) -> None:
    for name, value in others.items():
        if name in _NO_NEED:
            continue
        if name not in _ELSEWHERE:
            raise TypeError(f"wsgi.server() got an unexpected keyword argument {name!r}")
        harmless, instead = _ELSEWHERE[name]
        if value != harmless:
            warnings.warn(f"wsgi.server has no {name}; use {instead}", RuntimeWarning, stacklevel=3)


def _seconds(keepalive: bool | float) -> float:
    return OPTIONS["keepalive_timeout"].default if keepalive is True else float(keepalive)


def _writer(log: Any) -> Callable[[str], object]:
    if log is None:
        return report.write
    if hasattr(log, "info"):
        return lambda text: log.info("%s", text.rstrip("\n"))
    write: Callable[[str], object] = log.write
    return write


def _with_environ(site: Application, extra: Mapping[str, Any]) -> Application:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        environ.update(extra)
        return site(environ, start_response)

    return application
