"""What is served in the place of an application that cannot be loaded: why."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from greenserve.http.error_page import error_body, preferred

_WAIT = "X-Greenserve-Wait"
_TITLE = "The application cannot be loaded"
# The request ends when the worker does: with the next save. Not after a POST, which would be sent again.
_SCRIPT = f"""<script>
fetch(location.href, {{headers: {{"{_WAIT}": "1"}}, cache: "no-store"}})
  .catch(() => new Promise(resolve => setTimeout(resolve, 300)))
  .then(() => location.reload());
</script>
"""


class TroublePage:
    """A WSGI application. reason: a sentence. details: a traceback, if there is one."""

    def __init__(self, reason: str, details: str = "") -> None:
        self._reason = reason
        self._details = details.strip("\n")

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer with 500."""
        if f"HTTP_{_WAIT.upper().replace('-', '_')}" in environ:
            environ["greenserve.stopping"].wait()
            start_response("204 No Content", [("Cache-Control", "no-store")])
            return []
        accept = environ.get("HTTP_ACCEPT")
        if preferred(accept) == "text/html":
            kind, body = "text/html; charset=utf-8", self._html(environ["REQUEST_METHOD"] == "GET")
        else:
            kind, body = error_body(500, "\n\n".join(filter(None, (self._details, self._reason))), accept)
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        start_response("500 Internal Server Error", [*headers, ("Vary", "Accept")])
        return [body]

    def _html(self, comes_back: bool) -> bytes:
        details = f"<pre>{escape(self._details)}</pre>\n" if self._details else ""
        again = "this page shows" if comes_back else "requests get"
        page = (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{_TITLE}</title>\n'
            "<style>body{font:1rem/1.5 sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
            "pre{overflow:auto;padding:1rem;background:#8882}</style>\n"
            f"<h1>{_TITLE}</h1>\n<p>{escape(self._reason)}</p>\n{details}"
            f"<p>With the next save {again} the new code.</p>\n{_SCRIPT if comes_back else ''}</html>\n"
        )
        return page.encode("utf-8", "replace")
