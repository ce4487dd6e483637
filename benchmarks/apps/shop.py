"""The pages of a shop without a framework: each answer has its own length, ETag and cookie, 6 fields in all."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

HTML = "text/html; charset=utf-8"
LONGEST = 400  # bytes of the reviews of a product


def page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A product's reviews, after the form that was posted has been read; 404 for every other path."""
    posted = b""
    if environ["REQUEST_METHOD"] == "POST":
        posted = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    path = environ["PATH_INFO"]
    if not path.startswith("/products/"):
        body = f"<!doctype html><title>Not found</title><p>There is no {path}".encode()
        start_response("404 Not Found", [("Content-Type", HTML), ("Content-Length", str(len(body)))])
        return [body]
    product = path.split("/")[2]
    reviews = "*" * (int(product) % LONGEST)
    body = f"<!doctype html><title>Product {product}</title><p>{len(posted)} bytes posted<p>{reviews}".encode()
    headers = [
        ("Content-Type", HTML),
        ("Content-Length", str(len(body))),
        ("ETag", f'"{product}-{environ["HTTP_X_REQUEST_ID"][:8]}"'),
        ("Cache-Control", "private, max-age=60"),
        ("Vary", "Cookie"),
        ("Set-Cookie", f"session={environ['HTTP_COOKIE'][8:40]}; Path=/; HttpOnly; SameSite=Lax"),
    ]
    start_response("200 OK", headers)
    return [body]
