"""The table of routes, and the WSGI callable that follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from greenserve.demo.activity import activity
from greenserve.demo.assets import POLICY, asset, source
from greenserve.demo.chat import chat, talk
from greenserve.demo.live import facts, live
from greenserve.demo.slow import burst, slow
from greenserve.demo.stream import lines, stream
from greenserve.demo.upload import receive, upload, watch
from greenserve.demo.web import Body, Refused, Request, Response

Handler = Callable[[Request], Response]
READ = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Route:
    """The handler of a path. counted: part of "requests in flight", which is about work, not about watching it."""

    handler: Handler
    methods: tuple[str, ...] = READ
    counted: bool = True


ROUTES: dict[str, Route] = {
    "/": Route(asset("index.html", "text/html; charset=utf-8")),
    "/demo.css": Route(asset("demo.css", "text/css; charset=utf-8")),
    "/demo.js": Route(asset("demo.js", "text/javascript; charset=utf-8")),
    "/chart.js": Route(asset("chart.js", "text/javascript; charset=utf-8")),
    "/chat.js": Route(asset("chat.js", "text/javascript; charset=utf-8")),
    "/logo.svg": Route(asset("logo.svg", "image/svg+xml")),
    "/slow": Route(slow, ("GET",)),
    "/burst": Route(burst, ("POST",), counted=False),
    "/stream": Route(stream, ("GET",)),
    "/upload": Route(upload, ("POST", "PUT")),
    "/upload/watch": Route(watch, ("GET",), counted=False),
    "/live": Route(live, ("GET",), counted=False),
    "/chat": Route(chat, ("GET",), counted=False),
    "/facts": Route(facts),
    "/source": Route(source({"slow": slow, "stream": lines, "upload": receive, "chat": talk})),
}

SECURITY = [
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The demo: a WSGI application (PEP 3333)."""
    route = ROUTES.get(environ.get("PATH_INFO") or "/")
    counted = route is not None and route.counted
    if counted:
        activity.enter()
    try:
        response = _respond(route, environ)
    except BaseException:
        if counted:
            activity.leave()
        raise
    start_response(response.status, response.headers + SECURITY)
    return Body(response.body, activity.leave) if counted else response.body


def _respond(route: Route | None, environ: dict[str, Any]) -> Response:
    try:
        request = Request(environ)
        return _checked(route, request).handler(request)
    except Refused as refusal:
        return Response.text(refusal.text, status=refusal.status, headers=refusal.headers)


def _checked(route: Route | None, request: Request) -> Route:
    if route is None:
        raise Refused("404 Not Found", "There is nothing here. The demo's page is at /.")
    if request.method not in route.methods:
        allowed = ", ".join(route.methods)
        raise Refused("405 Method Not Allowed", f"{request.path} answers {allowed} only.", [("Allow", allowed)])
    # Another site's page could otherwise start bursts in the visitor's name. Programs such as curl send no such header.
    if request.method not in READ and request.environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("same-origin", "none"):
        raise Refused("403 Forbidden", "Only the demo's own page may ask for this.")
    return route
