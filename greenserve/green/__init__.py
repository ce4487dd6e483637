"""Green twins of the standard library's blocking modules: same names, same behaviour, but only the calling green
thread waits.

`from greenserve.green import socket` uses one directly; `greenserve.green.monkey` puts them in the place of the real
ones. Importing this package changes nothing. What needs no code of its own (http, urllib, socketserver, ftplib, ...)
is imported afresh over the twins: `from greenserve.green.urllib.request import urlopen`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from greenserve.green._afresh import Afresh

COPIED = frozenset({"http", "urllib", "xmlrpc", "wsgiref", "concurrent", "socketserver", "asyncore", "asynchat"}) | {
    *("ftplib", "smtplib", "poplib", "imaplib", "nntplib", "telnetlib"),
}
"""Packages and modules of the standard library that need no twin: imported afresh over the twins they are green."""


def __getattr__(name: str) -> Any:
    """A network module of the standard library, imported afresh."""
    if name not in COPIED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def _copy(name: str) -> ModuleType:
    copy: ModuleType = import_module(f"{__name__}.monkey").import_patched(name)
    return copy


# First, for what it finds is in no directory of ours: a package's own directory is the real one's.
sys.meta_path.insert(0, Afresh(__name__, COPIED, _copy))
