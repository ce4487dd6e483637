"""From resolved settings to a running server, in the one order that works.

Settings, working directory, patch, logging, application, listeners: the patch comes before the application because what
an application has imported unpatched stays unpatched, and the listeners come last because a port that accepts
connections promises an application behind it. Where root becomes another user, which it does before the application
runs, root binds the listeners; but these too listen last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from wsgiref.types import WSGIApplication

import greenserve
from greenserve import codec, server
from greenserve.cli.logs import configure_logging, enable_loggers
from greenserve.cli.service import Service
from greenserve.compat.websocket.engineio import engineio_warning, prepare_for_workers
from greenserve.errors import ConfigurationError
from greenserve.loading import load_application
from greenserve.net import siblings
from greenserve.patching import other_hubs
from greenserve.process import init
from greenserve.process.pid_file import PidFile
from greenserve.process.systemd import ServiceManager
from greenserve.process.user import User, become, find
from greenserve.server.announcement import announcement
from greenserve.server.share import wanted
from greenserve.settings import PassedSockets, Resolution, Settings, Source
from greenserve.supervisor.handed import TO_TEMPLATE, Handed, take
from greenserve.workers.advice import advice
from greenserve.workers.hooks import Hooks

_logger = logging.getLogger("greenserve.cli")


def prepare(resolution: Resolution) -> None:
    """Make the process ready to load an application: environment, umask, directory, patch, logging.

    Raises ConfigurationError.
    """
    settings = resolution.settings
    os.environ.update(resolution.variables)
    if "TZ" in resolution.variables:
        time.tzset()
    if settings.umask is not None:
        os.umask(settings.umask)
    if settings.chdir is not None:
        try:
            os.chdir(settings.chdir)
        except OSError as error:
            origin = resolution.origins["chdir"]
            raise ConfigurationError(f"chdir = {settings.chdir!r} (from {origin}): {error.strerror}") from error
    other_hubs.disarm()
    if settings.patch:
        greenserve.monkey_patch()
    configure_logging(settings.log_level)


def warn(resolution: Resolution) -> None:
    """Log what looked wrong in the settings; before anything can fail: a misspelt variable may be the cause."""
    for warning in filter(None, (*resolution.warnings, codec.FAULT, *advice(resolution))):
        _logger.warning(warning)


@contextmanager
def without_arguments() -> Iterator[None]:
    """For the application's life: sys.argv holds its own arguments, of which there are none.

    Some applications parse them at import (oslo.config, absl), and would take the command's for theirs.
    """
    before = sys.argv[1:]
    del sys.argv[1:]
    try:
        yield
    finally:
        sys.argv[1:] = before


def load(reference: str) -> WSGIApplication:
    """Load the application that `reference` names, from the working directory. Raises LoadError."""
    application = load_application(reference)
    enable_loggers()
    advice = engineio_warning()
    if advice is not None:
        _logger.warning("%s", advice)
    return application


def _load_for_one_of(settings: Settings, reference: str) -> WSGIApplication:
    """As `load`, for each of several workers."""
    application = load(reference)
    if wanted(settings) > 1:
        for advice in prepare_for_workers(sticky=settings.sticky is not None):
            _logger.warning("%s", advice)
    return application


def serve(reference: str, resolution: Resolution, arguments: list[str]) -> int:
    """Become the user, load the application, listen, and serve until told to stop. Returns the exit code.

    With several workers this returns in each of the processes. arguments: the command's. Raises LoadError,
    ConfigurationError, BindError.
    """
    settings = resolution.settings
    told = take(TO_TEMPLATE)
    first = told is None
    if told is None and (settings.reload or wanted(settings) > 1):
        told = _supervise(resolution, arguments)
    if told is not None:
        from greenserve.workers import run as workers  # noqa: PLC0415 - a server of one process does without

        return workers.serve(
            *(
                told,
                for_development(resolution),
                reference,
                partial(_become_user, settings),
                partial(_load_for_one_of, settings),
                arguments,
            ),
            config=resolution.file,
            first=first,
        )
    return _serve_alone(reference, settings, arguments)


def _serve_alone(reference: str, settings: Settings, arguments: list[str]) -> int:
    """As `serve`, in this process."""
    with contextlib.ExitStack() as stack:
        pid_file = None if settings.pid_file is None else stack.enter_context(PidFile(settings.pid_file))
        if pid_file is not None:
            pid_file.check()  # before the application does anything that the living process would notice
        user = find(settings.user, settings.group)
        _take_passed_sockets()
        service = Service(ServiceManager.take(os.environ), settings)
        if os.getpid() == init.FIRST:
            init.leave_to_child(arguments)
        raise_file_limit()
        running = server.Server(settings=settings)
        running.on_state, running.on_hangup = service.on_state, service.on_hangup
        if user is not None:
            stack.callback(running.stop)
            running.bind()
            if pid_file is not None:
                pid_file.write()
            become_user(user, settings)
        hooks = Hooks(settings, os.getpid())
        hooks.begin("on_starting")
        running.application = load(reference)
        hooked = stack.enter_context(hooks.life_of_all())
        hooks.call("post_worker_init", worker=hooked)

        def ready() -> None:
            if pid_file is not None:
                pid_file.write()  # not earlier: a script that reads it may send a signal, which has to be handled
            urls = [address.url for address in running.addresses]
            for line in announcement(settings, urls, os.getpid()):
                _logger.info("%s", line)
            service.ready(urls)
            hooks.attempt("when_ready")

        return running.serve_forever(ready)


def _supervise(resolution: Resolution, arguments: list[str]) -> Handed:
    """Bind the addresses, and become the supervisor. Returns in its child, which is the first template."""
    from greenserve.workers import start  # noqa: PLC0415 - a server of one process does without

    settings = resolution.settings
    pid_file = None if settings.pid_file is None else PidFile(settings.pid_file)
    if pid_file is not None:
        pid_file.check()
    user = find(settings.user, settings.group)  # raises what is wrong with them
    siblings.check(settings)
    _take_passed_sockets()
    manager = ServiceManager.take(os.environ)
    raise_file_limit()
    first = server.Server(settings=settings)
    first.bind()
    if pid_file is not None:
        pid_file.write()
    # Without what a file has added: the next template reads it again, and the environment comes before a file.
    environ = {name: value for name, value in os.environ.items() if name not in resolution.variables}
    command = start.Command(arguments, environ, settings.log_level, settings.load_timeout)
    told = start.begin(first.listeners, command, pid_file, manager, user)
    if pid_file is not None:
        pid_file.close()
    return told


def for_development(resolution: Resolution) -> Settings:
    """With reload: the page that says what is wrong counts as ready; a breakpoint may stop a worker for long."""
    settings = resolution.settings
    if not settings.reload:
        return settings
    is_given = resolution.origins["worker_timeout"].source is not Source.DEFAULT
    timeout = settings.worker_timeout if is_given else 0.0
    return dataclasses.replace(settings, ready_path=None, worker_timeout=timeout)


def _become_user(settings: Settings) -> None:
    user = find(settings.user, settings.group)
    if user is not None:
        become_user(user, settings)


def _take_passed_sockets() -> None:
    """Before the application is there, which may have children: the variables are this process's alone, and so are the
    sockets.
    """
    for fd in PassedSockets.take(os.environ).fds:
        with contextlib.suppress(OSError):  # one that is not there is an error when it is listened on
            os.set_inheritable(fd, False)


def become_user(user: User, settings: Settings) -> None:
    """Give up root, and say what that means for the certificates. Raises ConfigurationError."""
    become(user)
    _logger.info("root has become the user %s", user)
    files = [*settings.tls_cert, *settings.tls_key, settings.tls_client_ca, settings.tls_key_password_file]
    unreadable = [file for file in files if file is not None and not os.access(file, os.R_OK)]
    if unreadable:
        _logger.warning(
            "the user %s may not read %s: what root has read is in use, but when it is renewed the server has to be "
            "started again; let the user read it and enter its directories (chgrp, setfacl)",
            *(user, ", ".join(dict.fromkeys(unreadable))),
        )


def raise_file_limit() -> None:
    """Let this process open as many files as it is allowed to.

    The soft limit, often 1024, is there for programs that use select() (see setrlimit(2) and systemd's documentation);
    each connection is an open file, so a server would meet it long before any limit of its own.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:  # macOS has a lower limit than it says
            _logger.debug("the limit of open files stays at %d: %s", soft, error)
