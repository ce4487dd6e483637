"""ws4py: its application answers 101 by start_response, and leaves a WebSocket in the environ for the server to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

WEBSOCKET = "ws4py.websocket"


def running_websockets(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """`application`, and at its end the WebSocket that it leaves behind."""

    def running(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        writes: list[Callable[[bytes], None]] = []

        def remember(*arguments: Any, **keywords: Any) -> Callable[[bytes], None]:
            write: Callable[[bytes], None] = start_response(*arguments, **keywords)
            writes.append(write)
            return write

        result = application(environ, remember)
        websocket = environ.pop(WEBSOCKET, None)
        if websocket is None or not writes:
            return result
        close = getattr(result, "close", None)
        if close is not None:
            close()
        writes[-1](b"")  # the 101 leaves now
        websocket.run()
        return []

    return running
