"""Passing a connection on to the worker whose session its request is of, and taking one that another worker passes.

Strategy. The connection itself moves: its descriptor (SCM_RIGHTS), the request as it came, what has come behind it, and
what is known of the client. The worker that takes it goes on as if it had accepted it. So nothing of an answer is
parsed or copied on its way; streams, uploads, WebSockets and pipelined requests are what they are without this, limits
and timeouts hold, and the access log has one line. A connection that a proxy shares among its clients moves whenever
the session changes, request by request, which costs less than to pass the bytes of one request to and fro.

A TLS connection's keys cannot move. Its bytes do: it stays, and a pair of sockets takes its place; see relay.py.

What is said of the client is judged by the worker that has accepted the connection, and comes beside the request, by a
socket that no client can reach.
"""

from __future__ import annotations

import json
import logging
from itertools import product
from typing import Any

from greenserve.http.head import RequestHead
from greenserve.http.parser import RequestParser
from greenserve.net import lingering
from greenserve.net.siblings import Siblings
from greenserve.net.tls import TlsSocket
from greenserve.server import deadlines
from greenserve.server.admission import Verdict
from greenserve.server.handover import Surrendered
from greenserve.server.phases import Phase
from greenserve.server.sticky.directory import Sessions
from greenserve.server.sticky.learning import Learning
from greenserve.server.sticky.relay import Relay
from greenserve.server.sticky.session import Rule
from greenserve.server.stream import Stream
from greenserve.settings.sticky import Sticky
from greenserve.wsgi.environ import PEER, EnvironTemplate
from greenserve.wsgi.gateway import Application

logger = logging.getLogger("greenserve.server")

LOOK_SECONDS = 1.0  # how soon it is noticed that a worker leaves through which a connection comes


def sticky_sessions(worker: Any, sticky: Sticky | None, member: Any) -> StickySessions | None:
    """A Worker's part of it; the sessions of its application are its own from now on. None: nothing is sticky.

    member: a Member; None where there is one worker.
    """
    if sticky is None or member is None or member.sessions is None:
        return None
    found = StickySessions(worker, sticky, member.sessions)
    worker.application, worker.upgradable = map(found.learning, (worker.application, worker.upgradable))
    return found


class StickySessions:
    """A worker's part of it."""

    def __init__(self, worker: Any, sticky: Sticky, sessions: Sessions) -> None:
        self._worker = worker
        self._rule = Rule(sticky)
        self._sessions = sessions
        self._siblings: Siblings | None = None
        self._keys: dict[EnvironTemplate, tuple[str, bool, bool]] = {}  # listener, https, trusted
        self._relayed: dict[Any, int] = {}  # connections that come through another worker, and its slot

    def learning(self, application: Application) -> Application:
        """`application`, the sessions of which are this worker's."""
        return Learning(application, self._rule, self._sessions.add)

    def begin(self) -> None:
        """The worker serves from now on."""
        worker = self._worker
        self._siblings = Siblings(worker.hub, self._sessions.secret, self._sessions.slot.index, self._take)
        worker.hub.call_later(LOOK_SECONDS, self._look)

    def hear_rest(self) -> None:
        """The worker is about to stop, unless another one has passed it a request meanwhile."""
        self._sessions.leave()
        if self._siblings is not None:
            self._siblings.hear_rest()

    def close(self) -> None:
        """The worker has stopped."""
        if self._siblings is not None:
            self._siblings.close()

    # -- passing one on

    def pass_on(self, connection: Any) -> bool:
        """If the request that has just been read is of another worker's session, give the connection to that one.

        Returns False when it is to be served here: also when that worker has just gone. In a green thread of the pool.
        """
        request: RequestHead = connection.cycle.request
        session = self._rule.of_request(request)
        owner = None if session is None else self._sessions.owner(session)
        if owner is None or self._siblings is None:
            return False
        about = self._about(connection)
        data = head_of(request) + connection.stream.parser.trailing_data
        try:
            if isinstance(connection.stream.socket, TlsSocket):
                about["through"] = self._sessions.slot.index
                Relay(connection, self._siblings.send_end(owner.index, _message(about, data))).start()
            else:
                self._siblings.send(owner.index, _message(about, data), connection.stream.descriptor.fd)
                _move_away(connection)
        except TimeoutError:
            connection.refuse("the worker that has the request's session does not answer")
        except OSError as error:
            logger.info("%s: the worker that has its session has gone: %s", connection.request_line, error)
            return False
        return True

    def _about(self, connection: Any) -> dict[str, Any]:
        """What the other worker has to know beside the request."""
        return {
            "listener": self._key_of(connection.template),
            "peer": (connection.peer_address, connection.peer_port),
            "extra": connection.extra,
            "requests": connection.requests - 1,  # this one will be counted again
            "through": self._relayed.get(connection, 0),
        }

    def _key_of(self, template: EnvironTemplate) -> tuple[str, bool, bool]:
        found = self._keys.get(template)
        if found is None:
            for name, make in self._worker.templates.items():
                for https, trusted in product((False, True), repeat=2):
                    self._keys[make(https, trusted)] = name, https, trusted
            found = self._keys[template]
        return found

    # -- taking one

    def _take(self, sock: Any, message: bytes) -> None:
        """Another worker has passed a connection."""
        try:
            self._welcome(sock, *_read(message))
        except OSError:  # the client has gone
            sock.close()
        except Exception:  # a defect of ours is the end of this one alone
            sock.close()
            logger.exception("a connection that another worker has passed on could not be taken")

    def _welcome(self, sock: Any, about: dict[str, Any], data: bytes) -> None:
        worker = self._worker
        name, https, trusted = about["listener"]
        address, port = about["peer"]
        if worker.admission.judge(address) is Verdict.REFUSED:
            lingering.close_saying(sock, worker.no_room())
            return
        stream = Stream(worker, sock, RequestParser(worker.limits))
        stream.parser.receive_data(data)
        stream.drained = False
        connection = worker.welcome(stream, (address, port), worker.templates[name](https, trusted), about["extra"])
        connection.requests = max(0, about["requests"])
        if about["through"]:
            self._relayed[connection] = about["through"]

    def _look(self) -> None:
        """Drain the connections that come through a worker that leaves: it does not know which of them are idle."""
        self._worker.hub.call_later(LOOK_SECONDS, self._look)
        for connection, through in list(self._relayed.items()):
            if connection.phase is Phase.CLOSED:
                del self._relayed[connection]
            elif self._sessions.is_leaving(through):
                del self._relayed[connection]
                deadlines.announce_end(connection)
                deadlines.drain(connection, spare_upgraded=True)
                if connection.owner is not None:
                    connection.owner.drain(restarting=True)


def head_of(request: RequestHead) -> bytes:
    """A head that says what the one that was received has said."""
    lines = [f"{request.method} {request.target} HTTP/{request.http_version}"]
    lines += [f"{name}: {value}" for name, value in request.fields.items]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _message(about: dict[str, Any], data: bytes) -> bytes:
    return json.dumps(about).encode() + b"\n" + data


def _read(message: bytes) -> tuple[dict[str, Any], bytes]:
    first, _, data = message.partition(b"\n")
    about = json.loads(first)
    extra = about["extra"]
    if extra is not None and PEER in extra:
        extra[PEER] = tuple(extra[PEER])
    return about, data


def _move_away(connection: Any) -> None:
    """The connection is another worker's now: forget it, and do not shut what both have open."""
    cycle = connection.cycle
    if cycle.body is not None:
        cycle.body.close_unopened()
    connection.cycle = None
    connection.enter(Phase.CLOSED)
    connection.stream.detach().close()
    connection.stream = Surrendered(connection.worker)
    connection.worker.forget(connection)
