"""The running server in one hub: connections, the request pool, deadlines, and the way from serving to stopped.

Invariant: SERVING -> LAME_DUCK, with a drain delay -> DRAINING -> STOPPED, never back; worker_state.py has the table. A
lame duck serves as before, but each request is its connection's last. Draining closes the listeners and the idle
connections; busy ones finish their request; at the grace deadline, or when told to, what is left is killed, and it is
said which requests those were.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any
from wsgiref.handlers import format_date_time

from greenserve.http.error_page import error_response
from greenserve.http.forwarded import ForwardedReader
from greenserve.http.head import RequestHead
from greenserve.http.limits import Limits
from greenserve.http.parser import RequestParser
from greenserve.http.response import DefaultHeaders
from greenserve.hub.core.hub import Hub
from greenserve.hub.core.timers import Timer
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.hub.sync.event import Flag
from greenserve.net import lingering
from greenserve.net.listener import Accepted, Listener, ListeningSocket, Peer
from greenserve.server import deadlines, on_demand
from greenserve.server.accesslog import AccessLog, open_access_log
from greenserve.server.admission import NO_ROOM, Admission, Verdict
from greenserve.server.arrival import Arrival, Handshakes, ServerTls, TlsArrival
from greenserve.server.connection import Connection
from greenserve.server.error_pages import read_error_pages
from greenserve.server.measured import MeasuredConnection
from greenserve.server.member import Member
from greenserve.server.outstanding import Outstanding
from greenserve.server.phases import Phase
from greenserve.server.pool import RETRY_LATER, RequestPool
from greenserve.server.proxied import ProxiedArrival
from greenserve.server.readiness import wait_until_ready
from greenserve.server.spool import Budget
from greenserve.server.sticky import sticky_sessions
from greenserve.server.stream import Stream
from greenserve.server.worker_state import NEXT, WorkerState
from greenserve.settings import Address, Settings, TcpAddress
from greenserve.tls.redirect import MARK, Redirect
from greenserve.wsgi.environ import Environ, EnvironTemplate
from greenserve.wsgi.gateway import Application

logger = logging.getLogger("greenserve.server")

SWEEP_SECONDS = 1.0  # how coarse the deadlines of connections are
IDLE_SECONDS = 1.0  # for which idle connections outlive the beginning of a restart
NEW_SECONDS = 0.1  # for which new connections outlive the beginning of the end: their first requests are on the way
KILL_SECONDS = 1.0  # what a killed request has for its `finally` blocks


class Worker:
    """Serves one application on sockets that listen already, in the hub of the thread that calls `run`."""

    # CPython 3.11 looks up the attributes of an object that has more than thirty in a dict.
    __slots__ = (
        "_attach_rooms",
        "_delay",
        "_detach_rooms",
        "_grace",
        "_has_date",
        "_is_one_of_several",
        "_listeners",
        "_proxied",
        "_proxies",
        "_ready",
        "_redirect",
        "_said_no_room",
        "_spread",
        "_stopped",
        "_sweeper",
        "_trust",
        "_websocket_policy",
        "access_log",
        "admission",
        "application",
        "body_min_rate",
        "body_timeout",
        "connections",
        "default_headers",
        "draining",
        "early_hints",
        "error_pages",
        "handshakes",
        "header_timeout",
        "hub",
        "idle_grace",
        "keepalive_timeout",
        "killed",
        "limits",
        "max_requests",
        "member",
        "now",
        "on_state",
        "outstanding",
        "pool",
        "restarting",
        "served",
        "spools",
        "state",
        "sticky",
        "stopping",
        "templates",
        "tls",
        "tls_handshake_timeout",
        "upgradable",
        "watched",
        "write_timeout",
    )

    def __init__(
        self,
        hub: Hub,
        application: Application,
        settings: Settings,
        access_log: AccessLog | None = None,
        tls: ServerTls | None = None,
        redirect: Redirect | None = None,
        on_state: Callable[[WorkerState], object] | None = None,
        member: Member | None = None,
    ) -> None:
        self.hub = hub
        self.on_state = on_state  # called with each state that it goes on to
        # With reload there is a supervisor even of one.
        self.member, self._is_one_of_several = member, member is not None and settings.workers != 1
        self.tls = tls
        self.tls_handshake_timeout = settings.tls_handshake_timeout
        self.handshakes = Handshakes(hub)
        self.error_pages = read_error_pages(settings.error_pages)
        self.application = on_demand.with_static(application, settings, self.error_pages)
        self.upgradable = on_demand.with_static(on_demand.upgradable(application), settings, self.error_pages)
        if redirect is not None:
            self.application, self.upgradable = redirect.before(self.application), redirect.before(self.upgradable)
        self.sticky = sticky_sessions(self, settings.sticky, member)
        self._redirect = redirect
        self.header_timeout = settings.header_timeout
        self.body_timeout = settings.body_timeout
        self.body_min_rate = settings.body_min_rate
        self.keepalive_timeout = settings.keepalive_timeout
        self.write_timeout = settings.write_timeout
        self.default_headers = DefaultHeaders(settings.server_header, others=settings.header)
        self._has_date = settings.date_header
        self._said_no_room = b""  # made when it is needed, with the date
        self._renew_date()
        self.early_hints = settings.early_hints
        self.now = hub.clock()
        self.access_log = access_log if access_log is not None else open_access_log(settings)
        self.watched = self.access_log is not None or member is not None  # it is known how long requests have taken
        self.state = WorkerState.SERVING
        self.draining = False
        # Of a connection, the last one with `Connection: close`; 0 for any number, the only value that costs nothing.
        self.max_requests = (settings.max_requests_per_connection or 0) if settings.keepalive_timeout else 1
        self.restarting = False
        self.idle_grace = 0.0  # seconds that a connection has left whose client may send another request
        self.killed = 0  # requests
        self.served = 0  # requests that have begun, if `watched`
        self.connections: set[Connection | Arrival] = set()
        self.spools = (
            Budget(settings.buffer_chunked, settings.buffer_chunked_total)
            if settings.buffer_chunked is not None
            else None
        )
        self.admission = Admission(settings, self.connections, hub.clock)
        self.pool = RequestPool(hub, settings.concurrency, settings.max_queue)
        self.outstanding = Outstanding(hub, settings.max_unsent)
        self._websocket_policy = functools.cache(partial(on_demand.websocket_policy, settings))
        self.stopping = Flag()  # environ["greenserve.stopping"]
        self._delay: Timer | None = None  # of a lame duck
        self._grace = settings.graceful_timeout
        self._spread = settings.drain_spread
        self._attach_rooms = partial(on_demand.attach_rooms, hub, settings)
        self._detach_rooms: Callable[[], object] = bool
        self._ready = settings.ready_path, settings.ready_timeout
        self.limits = _limits(settings)
        self._prepare_listeners(settings)
        self._stopped = WaitQueue()
        self._sweeper: Timer | None = None

    def _prepare_listeners(self, settings: Settings) -> None:
        """What decides how a connection is greeted."""
        self._proxied = settings.proxy_protocol
        self._proxies = settings.trusted_proxies
        self._trust = ForwardedReader(settings.forwarded_headers, self._proxies.__contains__)
        self._listeners: list[Listener] = []
        self.templates: dict[str, Callable[[bool, bool], EnvironTemplate]] = {}  # of each listener: https, trusted

    def run(self, sockets: list[tuple[ListeningSocket, Address]], ready: Callable[[], object] = bool) -> None:
        """Serve until stopped. Closes the sockets. ready: called when connections are accepted. Raises LoadError."""
        try:
            self._detach_rooms = self._attach_rooms()
            self.now = self.hub.clock()
            self._sweeper = self.hub.call_later(SWEEP_SECONDS, self._sweep)
            if self.sticky is not None:
                self.sticky.begin()
            if self.member is not None:
                self.member.begin(self)
            wait_until_ready(self, *self._ready)
            if self.draining:
                return
            self._listeners = [
                Listener(
                    self.hub,
                    sock,
                    address,
                    self._accept_with(address),
                    self.admission.relieve,
                    *(() if self.member is None else (self.member.gives_way,)),
                )
                for sock, address in sockets
            ]
            if self.member is not None:
                self.member.become_ready()
            ready()
            while self.state is not WorkerState.STOPPED:
                self._stopped.wait()
        finally:
            self._shut()

    @property
    def websocket_policy(self) -> Any:
        """The `websocket.Policy` of all its WebSockets."""
        return self._websocket_policy()

    def become_lame_duck(self, seconds: float = inf, then: Callable[[], object] = bool) -> None:
        """Go on as before for `seconds`, but have clients come back by new connections, which a load balancer may give
        to others by then. Afterwards `then` is called, which is to drain, unless draining has begun by itself.
        """
        if self.state is not WorkerState.SERVING:
            return
        self._enter(WorkerState.LAME_DUCK)
        for connection in self.connections:
            deadlines.announce_end(connection)
        if seconds < inf:
            self._delay = self.hub.call_later(seconds, then)

    def drain(self, grace: float | None = None, *, restarting: bool = False, at_once: bool = False) -> None:
        """Stop gracefully, within `grace` seconds. In the hub's thread only; see `hub.call_soon_threadsafe`.

        restarting: another process takes over at once; WebSockets are told (1012), so that their clients come again,
        one after another. It accepts from the same listeners; and idle connections have a moment left, since their next
        requests may be on the way: each is answered, with `Connection: close`. at_once: answers are outdated, so idle
        ones are closed, and WebSockets end together. New connections have a moment left in any case.
        """
        if self.draining:
            return
        if self._delay is not None:
            self._delay.cancel()
        self.restarting = restarting
        self._enter(WorkerState.DRAINING)
        self.stopping.set()
        for listener in self._listeners:
            if not restarting:
                listener.accept_rest()
            listener.close()
        self._listeners = []
        grace = self._grace if grace is None else grace
        if restarting and not at_once:
            self._drain_spread(min(self._spread, grace / 2))
        else:
            self._drain_connections(spare_new=True)
            self.hub.call_later(NEW_SECONDS, self._drain_connections)
        why, level = ("new code serves", logging.INFO) if at_once else ("the grace deadline has passed", logging.ERROR)
        self.hub.call_later(grace, self.force, why, level)
        self._stop_if_empty()

    def _drain_connections(self, **spared: bool) -> None:
        for connection in list(self.connections):
            deadlines.drain(connection, **spared)

    def _drain_spread(self, seconds: float) -> None:
        """WebSockets end evenly over `seconds`: thousands of clients that come again at once would be an attack."""
        self.idle_grace = IDLE_SECONDS
        self._drain_connections(spare_idle=True, spare_upgraded=True)
        self.hub.call_later(IDLE_SECONDS, partial(self._drain_connections, spare_upgraded=True))
        upgraded = [each for each in self.connections if isinstance(each, Connection) and each.owner is not None]
        for count, each in enumerate(upgraded):
            self.hub.call_later(seconds * count / len(upgraded), deadlines.drain, each)
        self.hub.call_later(max(seconds, IDLE_SECONDS), self._drain_connections)  # those that came to it meanwhile

    def force(self, why: str, level: int = logging.ERROR) -> None:
        """Kill what is still in progress, and say which requests it was."""
        if self.state is WorkerState.STOPPED:
            return
        self.drain(0)
        busy = [each for each in self.connections if isinstance(each, Connection) and each.greenlet is not None]
        waiting = [job for job in self.pool.waiting if isinstance(job, Connection)]
        self.pool.waiting.clear()
        for connection in busy:
            logger.log(level, "killed because %s: %s from %s", why, connection.request_line, connection.peer)
            self.pool.kill(connection)
        halfway = [each for each in self.connections if each.phase is Phase.TAKE_IN or each.phase is Phase.FLUSH]
        for each in halfway:
            logger.log(level, "cut off because %s: %s of %s", why, each.request_line, each.peer)
        self.killed += len(busy) + len(waiting) + len(halfway)
        for each in self.connections - set(busy):
            each.close()
        self.hub.call_later(KILL_SECONDS, self._stop)

    def welcome(
        self, stream: Stream, peer: Peer, template: EnvironTemplate, extra: Environ | None = None
    ) -> Connection:
        """A client may send requests from now on. extra: what each one's environ has of the connection."""
        measured = self.access_log is not None and self.access_log.measures
        connection = (MeasuredConnection if measured else Connection)(self, stream, peer, template, extra)
        self.enter(connection)
        return connection

    def welcome_itself(self, sock: ListeningSocket) -> None:
        """A client of this process may send requests; see readiness.py."""
        scheme = "http" if self.tls is None else "https"
        template = EnvironTemplate("localhost", "", scheme, extra=self._extra())
        self.welcome(Stream(self, sock, RequestParser(self.limits)), ("", ""), template)

    def _extra(self) -> Environ:
        """What each environ has besides."""
        return {"greenserve.stopping": self.stopping, "wsgi.multiprocess": self._is_one_of_several}

    def enter(self, connection: Connection | Arrival) -> None:
        """A connection has come in."""
        self.connections.add(connection)
        self.admission.enter(connection.peer_address)
        if self.member is not None:
            self.member.count()

    def forget(self, connection: Connection | Arrival) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self.admission.leave(connection.peer_address)
        if self.member is not None:
            self.member.count_end()
        if self.draining:
            self._stop_if_empty()

    def oldest(self) -> float:
        """When the oldest of the requests in progress began, by the hub's clock; 0: none is in progress."""
        if not self.pool.busy:
            return 0.0
        cycles = (each.cycle for each in self.connections if isinstance(each, Connection) and each.greenlet is not None)
        return min((cycle.started for cycle in cycles if cycle is not None), default=0.0)

    def error_response(
        self, status: int, detail: str, request: RequestHead | None = None, headers: Sequence[tuple[str, str]] = ()
    ) -> bytes:
        """A response of the server's own, which ends its connection; see http/error_page.py."""
        return error_response(
            status, detail, request=request, defaults=self.default_headers, headers=headers, pages=self.error_pages
        )

    def _judge(self, sock: Any, peer: Peer, in_clear: bool) -> Verdict:
        """What becomes of a connection that was accepted; one that is refused is closed."""
        if self._proxied and not self._proxies.trust(peer[0]):
            self.handshakes.report(
                "refused the connection from %s:%s: with proxy_protocol only trusted_proxies may connect", *peer
            )
            sock.close()
            return Verdict.REFUSED
        verdict = self.admission.judge(peer[0])
        if verdict is Verdict.WAIT and self.draining:
            verdict = Verdict.REFUSED
        if verdict is Verdict.REFUSED:
            lingering.close_saying(sock, self.no_room() if in_clear and not self._proxied else b"")
        return verdict

    def no_room(self) -> bytes:
        """What a client is told that gets no connection; made once a second."""
        if not self._said_no_room:
            self._said_no_room = self.error_response(503, NO_ROOM, headers=RETRY_LATER)
        return self._said_no_room

    def _accept_with(self, address: Address) -> Accepted:
        """What a listener calls with each connection."""
        tls = self.tls if isinstance(address, TcpAddress) and address.is_secure else None
        name, port = (address.host, str(address.port)) if isinstance(address, TcpAddress) else ("localhost", "")
        extra = self._extra()
        if self._redirect is not None and address is self._redirect.address:
            extra[MARK] = True

        @functools.cache
        def template(https: bool, trusted: bool) -> EnvironTemplate:
            scheme, usual = ("https", "443") if https else ("http", "80")
            return EnvironTemplate(name, port or usual, scheme, extra=extra, trust=self._trust if trusted else None)

        self.templates[str(address)] = template

        def greet(stream: Stream, peer: Peer, https: bool = tls is not None, known: Environ | None = None) -> None:
            """known: what the environ of each request has of this connection, as far as it is known."""
            found = template(https, self._proxies.trust(peer[0]))
            if tls is None:
                self.welcome(stream, peer, found, known)
            else:
                self.enter(TlsArrival(self, stream, peer, found, tls, known))

        def accepted(sock: Any, peer: Peer) -> bool:
            verdict = self._judge(sock, peer, tls is None)
            if verdict is not Verdict.WELCOME:
                return verdict is Verdict.REFUSED
            try:
                stream = Stream(self, sock, RequestParser(self.limits))
                if self._proxied:
                    self.enter(ProxiedArrival(self, stream, peer, greet))
                else:
                    greet(stream, peer)
            except BaseException as error:
                if isinstance(error, MemoryError):
                    self.pool.run_short()
                raise
            return True

        return accepted

    def _sweep(self) -> None:
        """Once a second: the date, the deadlines, the line of handshakes, the files."""
        self._sweeper = self.hub.call_later(SWEEP_SECONDS, self._sweep)
        self._renew_date()
        before, self.now = self.now, self.hub.clock()
        blocked = self.now - before - SWEEP_SECONDS
        if blocked > SWEEP_SECONDS / 2:  # by an application that computes: then no client was heard
            for connection in self.connections:
                connection.deadline += blocked
                connection.write_deadline += blocked
        # A client that has sent in time may be in the ready queue, not looked at: the deadlines come after these.
        self.hub.call_soon(self._expire, self.now)
        self.pool.restock()
        self.admission.tick()
        self.outstanding.tick()
        self.handshakes.tick(self.now)
        if self.tls is not None:
            self.tls.refresh()
        if self.access_log is not None:
            self.access_log.check()

    def _renew_date(self) -> None:
        self._said_no_room = b""
        if self._has_date:
            self.default_headers = self.default_headers.at(format_date_time(time.time()).encode())

    def _expire(self, now: float) -> None:
        for connection in self.connections:
            if connection.deadline < now or connection.write_deadline < now:
                # In the background: there may be thousands.
                self.hub.background.add(partial(deadlines.expire, connection, now))

    def _stop_if_empty(self) -> None:
        if not self.connections and self.sticky is not None:
            self.sticky.hear_rest()
        if not self.connections:
            self._stop()

    def _stop(self) -> None:
        if self.state is not WorkerState.STOPPED:
            self._enter(WorkerState.STOPPED)
            self._stopped.wake()

    def _enter(self, state: WorkerState) -> None:
        assert state in NEXT[self.state], f"{self.state} is not followed by {state}"
        self.state = state
        self.draining = state is not WorkerState.LAME_DUCK
        self.max_requests = 1  # whatever follows SERVING: the next request of a connection is its last
        if self.on_state is not None:
            self.on_state(state)

    def _shut(self) -> None:
        self._stop()
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.close()
        if self.sticky is not None:
            self.sticky.close()
        self._detach_rooms()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self.access_log is not None:
            self.access_log.close()


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_head=settings.max_head,
        max_header_count=settings.max_header_count,
        max_target=settings.max_target,
        max_body=settings.max_body,
    )
