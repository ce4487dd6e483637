"""The same answers as plain.py's, for a server of ASGI applications."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from plain import HELLO, MEBIBYTE, PLAIN

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def hello(scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
    await answer(HELLO, scope, send)


async def mebibyte(scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
    await answer(MEBIBYTE, scope, send)


async def answer(body: bytes, scope: MutableMapping[str, Any], send: Send) -> None:
    if scope["type"] != "http":  # the lifespan
        return
    fields = [(b"content-type", PLAIN.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})
