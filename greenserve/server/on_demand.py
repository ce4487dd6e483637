"""What most servers never need, imported when a setting or a request asks for it: files, rooms, WebSockets.

They are a quarter of all that a server would import, a fifth of the time until it listens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from greenserve.hub.core.hub import Hub
from greenserve.settings import AUTO, Settings
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.gateway import Application


def check(settings: Settings) -> None:
    """Raises ConfigurationError for directories that cannot be served, and for rooms that cannot be shared."""
    if _shares_rooms(settings):
        from greenserve import rooms  # noqa: PLC0415 - see above

        rooms.check(settings.rooms)
    if settings.static:
        from greenserve import static  # noqa: PLC0415 - see above

        static.check(settings.static)


def with_static(application: Application, settings: Settings, pages: Mapping[int, bytes]) -> Application:
    """`application`, behind the directories of the settings, if there are any. pages: error pages, by status."""
    if not settings.static:
        return application
    from greenserve import static  # noqa: PLC0415 - see above

    return static.with_static(application, settings, pages)


def attach_rooms(hub: Hub, settings: Settings) -> Callable[[], object]:
    """Share the process's rooms, if the settings say so. Returns what undoes it. Raises ConfigurationError."""
    if not _shares_rooms(settings):
        return bool
    from greenserve import rooms  # noqa: PLC0415 - see above

    rooms.attach(hub, settings.rooms)
    return functools.partial(rooms.detach, hub)


def _shares_rooms(settings: Settings) -> bool:
    return settings.rooms is not None and settings.rooms != AUTO


def upgradable(application: Application) -> Application:
    """`application` for requests that ask for an upgrade, as `compat.websocket.upgrades` makes it."""

    @functools.cache
    def made() -> Application:
        from greenserve.compat.websocket.upgrades import upgradable  # noqa: PLC0415 - see above

        return upgradable(application)

    def upgrading(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        return made()(environ, start_response)

    return upgrading


def websocket_policy(settings: Settings) -> Any:
    """The `websocket.Policy` of a server."""
    from greenserve import websocket  # noqa: PLC0415 - see above
    from greenserve.websocket.memory import Memory  # noqa: PLC0415 - see above
    from greenserve.websocket.protocol.deflate import DeflateParameters  # noqa: PLC0415 - see above

    return websocket.Policy(
        origins=settings.ws_origin,
        ping_interval=settings.ws_ping_interval,
        ping_timeout=settings.ws_ping_timeout,
        write_timeout=settings.write_timeout,
        max_message=settings.ws_max_message,
        deflate=DeflateParameters() if settings.ws_compression else None,
        memory=Memory(settings.ws_max_memory),
    )
