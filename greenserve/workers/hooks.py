"""Functions of a user's module that are called as processes begin and end: gunicorn's, by its names and arguments.

Where gunicorn calls them in its master process, the template does, since the supervisor holds nothing of the
application. With one worker there is one process, and it calls them all.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from greenserve.errors import LoadError
from greenserve.loading import load_module, raised
from greenserve.settings import OPTIONS, Address, Settings, Source, TcpAddress, UnixAddress, instead
from greenserve.settings.kinds import is_file
from greenserve.settings.other_servers import GUNICORN

logger = logging.getLogger("greenserve.hooks")

CALLED = {
    "on_starting": ("server",),
    "on_reload": ("server",),
    "when_ready": ("server",),
    "pre_fork": ("server", "worker"),
    "post_fork": ("server", "worker"),
    "post_worker_init": ("worker",),
    "worker_exit": ("server", "worker"),
    "child_exit": ("server", "worker"),
    "nworkers_changed": ("server", "new_value", "old_value"),
    "on_exit": ("server",),
}
"""Each with its arguments."""

NOT_CALLED = {
    "pre_request": "a WSGI middleware sees each request",
    "post_request": "a WSGI middleware sees each response",
    "worker_int": "no signal of the terminal reaches a worker; worker_exit is called",
    "worker_abort": "the log shows what a blocked worker does",
    "pre_exec": "SIGUSR2 starts no second server",
    "ssl_context": "tls_context names a function that adapts it",
}
"""Each with what there is instead."""


class HookedServer:
    """The `server` of a hook.

    pid: of the process that signals go to. log: a logger. cfg: the settings, by greenserve's names. address: what
    `bind` says, as gunicorn has it: (host, port), the path of a Unix socket, or a descriptor. num_workers: how many
    are wanted. Hooks may put attributes of their own here; those of the template are seen in its workers.
    """

    def __init__(self, settings: Settings, pid: int, workers: int) -> None:
        self.pid = pid
        self.log = logger
        self.cfg = settings
        self.address = [_as_in_gunicorn(address) for address in settings.bind]
        self.num_workers = workers


class HookedWorker:
    """The `worker` of a hook.

    number: from 1; a worker's successor may have another one, and no two workers at once have the same. age: how many
    workers have begun so far, this one included. pid: None before it is forked. log, cfg: as the server's. Hooks may
    put attributes of their own here; those of pre_fork are there in post_fork and in child_exit.
    """

    def __init__(self, number: int, age: int, server: HookedServer) -> None:
        self.number = number
        self.age = age
        self.pid: int | None = None
        self.log = server.log
        self.cfg = server.cfg
        self.failed: LoadError | None = None  # by pre_fork

    @property
    def ppid(self) -> int:
        """The pid of this process's parent."""
        return os.getppid()


class Hooks:
    """Calls the hooks of the module that the settings name, if they name one.

    pid: of the process that signals go to. workers: how many are wanted. Raises LoadError.
    """

    def __init__(self, settings: Settings, pid: int, workers: int = 1) -> None:
        self.server = HookedServer(settings, pid, workers)
        self._where = f"hooks = {settings.hooks!r}"
        self.warnings: list[str] = []  # what the module has that does nothing here
        self._functions: dict[str, Any] = {}
        if settings.hooks is not None:
            module = load_module(settings.hooks, "hooks", is_file=is_file(settings.hooks))
            self._functions = {name: getattr(module, name) for name in CALLED if hasattr(module, name)}
            for name, function in self._functions.items():
                self._check(name, function)
            found = _warnings(module, bool(self._functions))
            self.warnings = [f"{self._where}: {warning}" for warning in found]

    def __bool__(self) -> bool:
        return bool(self._functions)

    @property
    def names(self) -> list[str]:
        """Those that the module has."""
        return list(self._functions)

    def begin(self, name: str) -> None:
        """Call the first hook, on_starting or on_reload; before it the warnings are logged. Raises LoadError."""
        for warning in self.warnings:
            logger.warning("%s", warning)
        self.call(name)

    def call(self, name: str, **arguments: object) -> None:
        """Call a hook, if the module has it. Raises LoadError when it raises."""
        function = self._functions.get(name)
        if function is None:
            return
        arguments["server"] = self.server
        try:
            function(*[arguments[each] for each in CALLED[name]])
        except (Exception, SystemExit) as error:
            raise raised(f"{self._where}: {name}", error) from error

    def attempt(self, name: str, **arguments: object) -> None:
        """`call`; but what it raises goes to the log."""
        try:
            self.call(name, **arguments)
        except LoadError as error:
            logger.error("%s\n%s", error, error.details.rstrip())

    def make_worker(self, number: int, age: int) -> HookedWorker:
        """A worker that is about to be forked. What its pre_fork raises, the worker's own process raises."""
        worker = HookedWorker(number, age, self.server)
        try:
            self.call("pre_fork", worker=worker)
        except LoadError as error:
            worker.failed = error
        return worker

    @contextmanager
    def life_of(self, worker: HookedWorker) -> Iterator[None]:
        """From post_fork to worker_exit, in the worker's process. Raises LoadError."""
        worker.pid = os.getpid()
        try:
            if worker.failed is not None:
                raise worker.failed
            self.call("post_fork", worker=worker)
            yield
        finally:
            self.attempt("worker_exit", worker=worker)

    @contextmanager
    def life_of_all(self) -> Iterator[HookedWorker]:
        """Of a process that is the server and its one worker. Raises LoadError."""
        worker = self.make_worker(1, 1)
        try:
            with self.life_of(worker):
                yield worker
        finally:
            self.attempt("child_exit", worker=worker)
            self.attempt("on_exit")

    def _check(self, name: str, function: Any) -> None:
        names = ", ".join(CALLED[name])
        if not callable(function):
            raise LoadError(f"{self._where}: {name} is not a function, but of type {type(function).__name__}")
        if inspect.iscoroutinefunction(function):
            raise LoadError(f"{self._where}: {name} is asynchronous; write `def`, not `async def`")
        try:
            inspect.signature(function).bind(*CALLED[name])
        except TypeError:
            raise LoadError(f"{self._where}: {name} is called as {name}({names}), and takes other arguments") from None
        except ValueError:  # of C, without a signature
            pass


def _warnings(module: ModuleType, has_hooks: bool) -> Iterator[str]:
    """What the module holds that does nothing here."""
    unused = [f"{name} ({why})" for name, why in NOT_CALLED.items() if callable(getattr(module, name, None))]
    if unused:
        yield f"not called, since they mean nothing here: {', '.join(unused)}"
    names = [name for name in vars(module) if name in GUNICORN]
    if names:
        yield f"settings are not read there: {'; '.join(f'{name}: {_advice(name)}' for name in names)}"
    if not has_hooks:
        yield f"it has no hook; known are {', '.join(CALLED)}"


def _advice(name: str) -> str:
    if name in OPTIONS:
        return f"use {OPTIONS[name].flag}"
    return instead(name, Source.COMMAND_LINE) or "leave it out"


def _as_in_gunicorn(address: Address) -> object:
    if isinstance(address, TcpAddress):
        return address.host, address.port
    return address.path if isinstance(address, UnixAddress) else address.fd
