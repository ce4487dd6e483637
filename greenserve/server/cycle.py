"""One request and its response: made when the head is complete, and while the application runs the job of its green
thread.

Strategy. What C or the standard library keeps for each thread (context variables, thread-locals), and what can be
raised in it later (a Timeout, a kill), belongs to the request, not to the connection or to the green thread: `serve`
with none of it, and leaves none of it behind, whether the next request was pipelined or not.

Invariant. Whatever comes up through an application ends its request, and nothing but its request: an error page where
nothing has been sent yet, else the end of the connection, so that no client takes a part for the whole.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from greenserve.errors import ClientDisconnected, InvalidResponse, ProtocolError
from greenserve.http.head import RequestHead
from greenserve.hub.core.carried import drop as drop_carried
from greenserve.server.body import RequestBody
from greenserve.server.hijack import ConnectionSocket
from greenserve.server.phases import Phase
from greenserve.server.pool import Killed
from greenserve.wsgi.body_reader import EMPTY
from greenserve.wsgi.gateway import Gateway, ResponseState

logger = logging.getLogger("greenserve.server")

CLIENT_CLOSED = "499"  # in the access log: the client left before it was answered. nginx's number; it is never sent
_BREAKS_THE_RULES = "the application's response breaks the rules; the server's log says which"


class RequestCycle(Gateway):
    """All that is known of one request. The connection has it until its response has left and its body is read."""

    __slots__ = ("_log_due", "cut", "started")

    body: RequestBody | None
    started: float

    def __init__(self, connection: Any, request: RequestHead) -> None:
        Gateway.__init__(self, connection, request)  # `super()` would cost as much as the call
        self._log_due = False  # the application is done with it, and the access log has no line of it yet
        self.cut = False  # our side is shut, since a piece was not sent to its end
        if request.content_length or request.chunked:
            self.body = RequestBody(connection.stream, request)
        limit = connection.worker.max_requests
        if limit:
            connection.requests += 1
            if connection.requests >= limit:
                self.keep_alive = False

    def __repr__(self) -> str:
        return f"<RequestCycle {self.request_line} from {self.connection.peer}>"

    @property
    def request_line(self) -> str:
        """The request, for messages."""
        request = self.request
        return f"{request.method} {request.target} HTTP/{request.http_version}"

    @property
    def client_address(self) -> str:
        """The client's address, which a trusted proxy may have named; "" when it is not known, or has none."""
        connection = self.connection
        try:
            client = connection.template.client_of(self.request)
        except ProtocolError:  # for which it is being refused
            client = None
        address: str = connection.peer_address if client is None else client[0]
        return address

    def fail(self, error: BaseException) -> None:
        """An error has come up through `serve` after all."""
        self.connection.fail(error)

    def serve(self) -> None:
        """Call the application and answer, in a green thread. Raises ProtocolError, before all else, for what a
        trusted proxy must not say of its client.
        """
        connection, request, body = self.connection, self.request, self.body
        worker, greenlet = connection.worker, connection.greenlet
        file = EMPTY if body is None else body.open()
        environ = connection.template.build(request, connection.peer_address, connection.peer_port, file)
        if connection.extra is not None:
            environ.update(connection.extra)
        if body is not None:
            if request.chunked:
                environ["greenserve.trailers"] = body.trailers
            if body.spool is not None:  # RFC 9112 §7.1.3
                environ["CONTENT_LENGTH"] = str(body.spool.size)
                environ.pop("HTTP_TRANSFER_ENCODING", None)
        proxy = connection.proxy
        if proxy is None:
            proxy = connection.proxy = ConnectionSocket(connection)
        environ["greenserve.socket"] = environ["gunicorn.socket"] = environ["eventlet.input"] = proxy
        if worker.watched:
            self.started = worker.hub.clock()
            worker.served += 1
        greenlet.gr_context = greenlet.thread = greenlet.pending = None
        greenlet.job = self
        try:
            self.run(worker.upgradable if request.upgrade else worker.application, environ)
        except BaseException as error:  # a request must not be able to stop the server: SystemExit is an error like any
            self._answer_error(error)
        greenlet.job = connection  # a Timeout of this request's, and a kill, find it gone from here on
        greenlet.pending = None
        if greenlet.thread is not None:
            thread, greenlet.thread = greenlet.thread, None
            thread.end()
            drop_carried()
        if worker.access_log is not None:
            self._log_due = True
            self.log_if_over()

    def log_if_over(self) -> None:
        """Write the access log's line once the application has ended and the client has taken the response, or has
        left.
        """
        connection = self.connection
        log = connection.worker.access_log
        if log is None or not self._log_due or connection.stream.buffer is not None:
            return
        self._log_due = False
        if self.state is ResponseState.NOTHING or self.state is ResponseState.HEAD_KNOWN:
            self.status = CLIENT_CLOSED
        answer = self if connection.owner is None else connection.owner
        log.write(self, answer.status, answer.sent, connection.worker.hub.clock() - self.started)

    def note_head(self, head: bytes) -> None:
        """A response's head of the server's own leaves now; see measured.py."""

    # -- what came up through the application

    def _answer_error(self, error: BaseException) -> None:
        """Answer it; the peer's mistakes, in its body or the handshake, come up here too."""
        connection = self.connection
        if connection.worker.hub.closed:
            connection.close()
        elif isinstance(error, Killed):
            self._fail(503, "the server is stopping")
        elif connection.phase is Phase.UPGRADED:
            self._fail_upgraded(error)
        elif isinstance(error, ClientDisconnected):
            logger.info("%s: %s", self.request_line, error)
            if isinstance(error, ProtocolError):  # it has closed its sending side only, perhaps
                self._fail(error.status, str(error))
            elif not self.cut:
                connection.abort()
        elif isinstance(error, ProtocolError):
            logger.info("refused a request from %s with %d: %s", connection.peer, error.status, error)
            self._fail(error.status, str(error), error.headers)
        elif isinstance(error, InvalidResponse):
            logger.error("%s: the application's response breaks the rules: %s", self.request_line, error)
            self._fail(500, _BREAKS_THE_RULES)
        else:
            try:
                self._log_failure()
            finally:  # a handler of the program's may raise: that is no reason to keep the client waiting
                self._fail(500, "the application failed; the server's log says why")

    def _log_failure(self) -> None:
        """Log the error that is being handled."""
        logger.exception("%s: the application raised an error", self.request_line)

    def _fail_upgraded(self, error: BaseException) -> None:
        """What ended an application that has the socket: no response was due, and a client may leave."""
        owner = self.connection.owner
        if isinstance(error, InvalidResponse) or owner is None or owner.is_end(error):
            return
        self._log_failure()
        owner.finish(failed=True)

    def _fail(self, status: int, why: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        """An error page where nothing has been sent yet; else an end that shows that a part is missing."""
        connection = self.connection
        if connection.phase is Phase.CLOSED:
            return
        if connection.phase is Phase.UPGRADED:
            if connection.owner is not None:
                self.status, self.sent, self.state = connection.owner.status, connection.owner.sent, ResponseState.DONE
            connection.close()
        elif self.is_whole:
            self.state = ResponseState.DONE
        elif self.state is ResponseState.BODY:
            self.cut_off()
        else:
            self.keep_alive = False
            worker = connection.worker
            try:
                answer = worker.error_response(status, why, self.request, headers)
            except InvalidResponse as error:
                logger.error("%s: the application's refusal breaks the rules: %s", self.request_line, error)
                answer = worker.error_response(500, _BREAKS_THE_RULES, self.request)
            head, _, body = answer.partition(b"\r\n\r\n")
            self.status, self.state = head[9:].partition(b"\r\n")[0].decode("latin-1"), ResponseState.DONE
            self.sent = len(body)
            self.note_head(head + b"\r\n\r\n")
            try:
                connection.stream.finish(answer)
            except ClientDisconnected:
                connection.close()

    def cut_off(self) -> None:
        """End a response of which a part is missing.

        RFC 9112 §8: by Content-Length and by the last chunk a client knows that it is incomplete, so all that was sent
        may arrive; where the close is the framing, only a reset can tell.
        """
        if self.ends_by_close:
            self.connection.abort()
        else:
            self.keep_alive = False
