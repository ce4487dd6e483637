"""Sees an application's answers, and so which sessions begin in this worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from greenserve.http.head import RequestHead
from greenserve.server.sticky.session import Beginning, Rule
from greenserve.wsgi.file_wrapper import FileWrapper, file_part
from greenserve.wsgi.gateway import Application


class Learning:
    """A WSGI application in front of another. began: called with each session that an answer begins."""

    def __init__(self, application: Application, rule: Rule, began: Callable[[str], object]) -> None:
        self._application = application
        self._rule = rule
        self._began = began

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """A request's application."""
        if self._rule.is_cookie:
            return self._application(environ, self._seeing_cookies(start_response))
        head: RequestHead = environ["greenserve.socket"].connection.request
        if self._rule.of_request(head) is not None:  # its session has begun
            return self._application(environ, start_response)
        return self._seeing_body(self._application(environ, start_response))

    def _seeing_cookies(self, start_response: Callable[..., Any]) -> Callable[..., Any]:
        def seen(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            write = start_response(status, headers, *exc_info)  # first: what it raises, it raises for all
            session = self._rule.of_headers(headers)
            if session is not None:
                self._began(session)
            return write

        return seen

    def _seeing_body(self, result: Iterable[bytes]) -> Iterable[bytes]:
        kind = type(result)
        if kind is list or kind is tuple:
            beginning = Beginning(self._rule)
            for piece in result:
                self._see(beginning, piece)
                if beginning.is_known:
                    break
            return result
        if kind is FileWrapper or not hasattr(kind, "__iter__") or file_part(result) is not None:
            return result
        return _Seen(result, self)

    def _see(self, beginning: Beginning, piece: bytes) -> None:
        if isinstance(piece, bytes):  # else the gateway says what is wrong
            session = beginning.add(piece)
            if session is not None:
                self._began(session)

    def pieces(self, result: Iterable[bytes]) -> Iterator[bytes]:
        """Those of a body, the first of which are looked at."""
        beginning = Beginning(self._rule)
        rest = iter(result)
        for piece in rest:
            self._see(beginning, piece)
            yield piece
            if beginning.is_known:
                break
        yield from rest


class _Seen:
    """A body that is looked at, in the place of the application's."""

    def __init__(self, result: Iterable[bytes], learning: Learning) -> None:
        self._result = result
        self._learning = learning

    def __iter__(self) -> Iterator[bytes]:
        return self._learning.pieces(self._result)

    def close(self) -> None:
        """The application's own (PEP 3333)."""
        close = getattr(self._result, "close", None)
        if close is not None:
            close()
