"""The requests of the scenarios, all of them made before the load begins: what browsers send through an ingress.

The same number gives the same request in every run, and on every machine: whatever looks random is a hash of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HEADS = 65_536  # more than a run sends in a second, and than any cache of heads is to hold
RETURNING_HEADS = 200  # a small site's pages, asked for by monitoring, crawlers and an intranet again and again
FORM_BYTES = 300
POST_EVERY = 3
MISSING_EVERY = 20
SESSION = "{session}"  # stands where the cookie of a server's own login is to be put
SEPARATOR = b"\0"  # no request has it


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a browser. fields: as (name, value), Content-Length among them where there is a body."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def encoded(self) -> bytes:
        """As it is sent."""
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.fields)]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + self.body

    def field(self, name: str) -> str:
        """The value of a field that the request has."""
        return dict(self.fields)[name]


@dataclass(frozen=True, slots=True)
class Traffic:
    """A number of requests, sent in turn and then again from the first. request: makes one, from its number."""

    name: str
    request: Callable[[int], Request]
    count: int = HEADS

    def written(self, directory: Path) -> Path:
        """The file with all requests in this directory, made when it is not there, for apps/replay.lua to read."""
        path = directory / self.name
        if not path.exists():
            path.write_bytes(SEPARATOR.join(self.request(number).encoded() for number in range(self.count)))
        return path


def browser(number: int) -> Request:
    """A page of a shop: path, query, Referer, cookies and request id are this request's own; 9 fields."""
    noise = _noise("browser", number)
    return _browsed(number, f"session={noise[:32]}; theme=dark; _ga=GA1.2.{noise[32:42]}", noise[42:74], noise[74:80])


def site(number: int) -> Request:
    """As `browser`, but every third posts a form of 300 bytes, and every twentieth asks for what is not there."""
    request = browser(number)
    method, target, fields, body = "GET", request.target, request.fields, b""
    if number % MISSING_EVERY == MISSING_EVERY - 1:
        target = target.replace("/products/", "/missing/")
    if number % POST_EVERY == 1:
        method, body = "POST", form(number)
        fields += (("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", str(len(body))))
    return Request(method, target, fields, body)


def form(number: int) -> bytes:
    """A comment with its token, 300 bytes of a form."""
    start = f"csrf={_noise('form', number)[:64]}&rating={number % 5 + 1}&comment="
    return (start + "lorem+ipsum+dolor+sit+amet+" * FORM_BYTES)[:FORM_BYTES].encode("ascii")


def ingress(number: int) -> Request:
    """One page, asked for again and again by one browser; the ingress in front gives each request its X-Request-Id."""
    page = browser(0)
    request_id = _noise("ingress", number)[:32]
    fields = tuple((name, request_id if name == "X-Request-Id" else value) for name, value in page.fields)
    return Request("GET", page.target, fields)


def member(number: int) -> Request:
    """As `browser`, with the session cookie that the application has given at its login."""
    noise = _noise("member", number)
    return _browsed(number, f"session={SESSION}; theme=dark", noise[:32], noise[32:38])


BROWSER = Traffic("browser", browser)
SITE = Traffic("site", site)
RETURNING = Traffic("returning", browser, RETURNING_HEADS)
INGRESS = Traffic("ingress", ingress)
MEMBER = Traffic("member", member)


def _browsed(number: int, cookies: str, request_id: str, ref: str) -> Request:
    fields = (
        ("Host", "shop.example.com"),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        ),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        ("Accept-Language", "en-GB,en;q=0.9,de;q=0.7"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Referer", f"https://shop.example.com/products/{number * 31 % HEADS}"),
        ("Cookie", cookies),
        ("X-Request-Id", request_id),
        ("Connection", "keep-alive"),
    )
    return Request("GET", f"/products/{number}/reviews?page={number % 97}&sort=newest&ref={ref}", fields)


def _noise(kind: str, number: int) -> str:
    """128 hexadecimal digits."""
    return hashlib.blake2b(f"{kind} {number}".encode("ascii")).hexdigest()
