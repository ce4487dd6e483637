"""The command with several workers: what the first process, each template and each worker run."""

from __future__ import annotations

import _socket
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import Any
from wsgiref.types import WSGIApplication

from greenserve.process.role import Role
from greenserve.server import Server
from greenserve.server.announcement import announcement
from greenserve.server.member import Limits, Member, resident
from greenserve.server.share import share, wanted
from greenserve.server.sticky import Directory, Sessions
from greenserve.settings import AUTO, Address, Settings, parse_address
from greenserve.supervisor.handed import Handed
from greenserve.supervisor.table import Cell
from greenserve.tls import Contexts
from greenserve.workers.advice import outgrown
from greenserve.workers.development import load_or_explain, scope
from greenserve.workers.failures import failures_told_to
from greenserve.workers.hooks import Hooks
from greenserve.workers.start import program
from greenserve.workers.template import Template, logger


def serve(
    told: Handed,
    settings: Settings,
    reference: str,
    become_user: Callable[[], None],
    load: Callable[[str], WSGIApplication],
    arguments: list[str],
    *,
    config: Path | None,
    first: bool,
) -> int:
    """Be a template, and in its children a worker. Returns the exit status, in each of them.

    reference: to the application, which `load` loads. become_user: gives up root, if it is to; called before anything
    of the application. arguments: the command's. config: the file that the settings are from. first: no template was
    before this one. Raises LoadError, ConfigurationError.
    """
    role = Role("template", reference)
    role.assume("loading")
    preload = settings.preload and not settings.reload
    template = Template(told)
    with failures_told_to(template.channel):
        count = wanted(settings)
        rooms = rooms_of(settings, told.private)
        server = Server(None, replace(share(settings, count), rooms=rooms))
        directory = Directory(template.table) if settings.sticky is not None else None
        server.adopt([_listener(fd, address) for fd, address in told.listeners])
        if isinstance(server.tls, Contexts):
            server.tls.make_ahead()
        become_user()
        hooks = Hooks(settings, os.getppid(), count)
        hooks.begin("on_starting" if first else "on_reload")
        if preload:
            server.application = load(reference)
            if why := outgrown(settings, resident()):
                logger.warning("%s", why)
    policy = policy_of(settings, count, server.addresses, has_hooks=bool(hooks))
    if settings.reload:
        policy["watch"] = scope(settings, told.directory, config)
    role.show()
    forked = template.fork_workers({"loaded": policy, "program": program(arguments)}, hooks)
    if forked is None:
        return 0
    slot, channel, hooked, trouble = forked
    role = Role(f"worker {slot.index}", reference)
    role.assume()
    server.on_state = lambda state: role.show(state.value)
    slot[Cell.PID], slot[Cell.STARTED] = os.getpid(), monotonic_ns()
    slot.beat()
    sessions = None if directory is None else Sessions(directory, slot)
    server.member = Member(template.table, slot, channel, Limits.of(settings), sessions)
    with failures_told_to(channel), hooks.life_of(hooked):
        if settings.reload:
            server.application = load_or_explain(partial(load, reference), channel, trouble)
        elif not preload:
            server.application = load(reference)
        hooks.call("post_worker_init", worker=hooked)
        return server.serve_forever()


def policy_of(settings: Settings, count: int, addresses: list[Address], *, has_hooks: bool) -> dict[str, Any]:
    """What the supervisor has to know of the settings, see its Policy. count: of workers."""
    urls = [address.url for address in addresses]
    return {
        "workers": count,
        "worker_timeout": settings.worker_timeout,
        "graceful_timeout": settings.graceful_timeout,
        "drain_delay": settings.drain_delay,
        "load_timeout": settings.load_timeout,
        "urls": urls,
        "announcement": announcement(settings, urls, os.getppid()),
        "hooks": has_hooks,
    }


def rooms_of(settings: Settings, private: str) -> str | None:
    """The bus of the workers' rooms: by default one of their own, in the server's private directory."""
    if settings.rooms != AUTO:
        return settings.rooms
    if private:
        return f"unix:{private}/rooms"
    logger.warning(
        "the workers do not share rooms of WebSockets, as nothing can be written to TMPDIR, /tmp, /var/tmp and "
        "/dev/shm: make one of them writable, or name a socket (--rooms unix:PATH)"
    )
    return None


def _listener(fd: int, address: str) -> tuple[_socket.socket, Address]:
    os.set_inheritable(fd, False)
    return _socket.socket(-1, -1, -1, fd), parse_address(address)
