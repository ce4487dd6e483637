"""What the launchers share: the application they are asked for, and a listening socket for those that take one."""

import importlib
import socket
from collections.abc import Callable
from typing import Any

BACKLOG = 8192  # the idle scenario opens 5,000 connections in a burst; the kernel lowers this to its own limit


def application(name: str) -> Any:
    """The object `module:attribute`, imported after whatever patching the launcher has done."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def listener(port: int, create: Callable[..., Any] = socket.create_server) -> Any:
    """A listening socket whose connections send at once: gevent and eventlet leave Nagle's delay on."""
    listening = create(("127.0.0.1", port), backlog=BACKLOG)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
