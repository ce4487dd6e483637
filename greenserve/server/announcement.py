"""What the log says when the server listens; tests, tools and people read the addresses there."""

from __future__ import annotations

import platform

from greenserve import codec
from greenserve.server.share import wanted
from greenserve.settings import Settings
from greenserve.version import VERSION


def announcement(settings: Settings, urls: list[str], pid: int) -> list[str]:
    """Its lines. pid: of the process that signals go to."""
    first, *others = urls
    patched = "patched" if settings.patch else "not patched"
    count = wanted(settings)
    workers = "" if count == 1 else f", {count} workers"
    about = f"pid {pid}, Python {platform.python_version()}, {codec.NAME}, standard library {patched}{workers}"
    return [f"greenserve {VERSION} ({about}) listening on {first}", *(f"listening on {url}" for url in others)]
