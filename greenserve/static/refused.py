"""What is there, and yet not sent: an error in the type that the client prefers, on a connection that goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from greenserve.http.error_page import error_body
from greenserve.http.response import status_line
from greenserve.http.response_headers import Headers

Answer = tuple[str, Headers, Iterable[bytes]]  # status, headers and body, as WSGI has them


class Refused(Exception):
    """The file is not sent. detail: one sentence for the reader. headers: what the status asks for."""

    def __init__(self, status: int, detail: str, *headers: tuple[str, str]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    def answer(self, accept: str | None, pages: Mapping[int, bytes]) -> Answer:
        """The answer. accept: of the request. pages: an operator's own, by status."""
        content_type, body = error_body(self.status, self.detail, accept, pages)
        sent = [("Vary", "Accept"), ("Content-Type", content_type), ("Content-Length", str(len(body)))]
        return status_line(self.status), [*self.headers, *sent], (body,)
