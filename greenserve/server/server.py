"""`Server`: an application and where it listens; to be run in this thread, or started in one of its own."""

from __future__ import annotations

import contextlib
import logging
import signal
import warnings
from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from types import ModuleType, TracebackType
from typing import Any, Self, overload

from greenserve import codec, tls
from greenserve.errors import HubError
from greenserve.hub.core import report
from greenserve.hub.core.hub import current_hub, running
from greenserve.hub.core.originals import start_new_thread
from greenserve.hub.core.wait_queue import WaitQueue
from greenserve.hub.sync.event import Event
from greenserve.net.listener import ListeningSocket, bind_listener, bound_address, close_listener, start_listening
from greenserve.net.streamserver import serve as serve_sockets
from greenserve.patching import monkey, other_hubs
from greenserve.server import lastresort, on_demand, proxied
from greenserve.server.accesslog import AccessLog
from greenserve.server.arrival import ServerTls
from greenserve.server.member import Member
from greenserve.server.showing import show
from greenserve.server.signals import FORCED, MemberSignals, SignalHandlers
from greenserve.server.worker import Worker
from greenserve.server.worker_state import WorkerState
from greenserve.settings import Address, Settings, TcpAddress
from greenserve.wsgi.callbacks import HandleError, HandleRequest, application_of
from greenserve.wsgi.gateway import Application

logger = logging.getLogger("greenserve.server")
lastresort.install()

GRACEFUL = 0  # exit status: every request in progress was finished

_NOT_PATCHED = (
    "the standard library is not patched, so a request that waits (time.sleep, requests, a database) stops all others; "
    "call greenserve.monkey_patch() in the program's first lines, before its other imports"
)


class Server:
    """Serves `application` as `settings` (or its options as keywords, see docs/settings.md) say.

    Calls of the standard library that wait let other requests run only in a program that has called `monkey_patch`
    first; without it, starting warns (NotPatchedWarning).

    As a context manager, and with `start` and `stop`, it serves from an OS thread of its own, so it can be used in
    tests and beside other code; `serve_forever` serves from the thread that calls it.

    >>> import urllib.request
    >>> def app(environ, start_response):
    ...     start_response("200 OK", [("Content-Type", "text/plain")])
    ...     return [b"hello"]
    >>> with greenserve.Server(app, bind="127.0.0.1:0") as server:
    ...     urllib.request.urlopen(server.url).read()
    b'hello'
    """

    def __init__(
        self, application: Application | None = None, settings: Settings | None = None, **options: Any
    ) -> None:
        if application is not None:
            _check(application)
        if settings is not None and options:
            raise TypeError("give either Settings or options by keyword, not both")
        self.application = application
        self.settings = settings if settings is not None else Settings.from_kwargs(**options)
        self._sockets: list[tuple[ListeningSocket, Address]] = []
        self._worker: Worker | None = None
        self._waiters = WaitQueue()  # the threads that wait for the end
        self.error: BaseException | None = None  # what ended the server's own thread, if that was an error
        self.tls: ServerTls | None = None  # of the listeners that speak it; by default as the settings say
        self._redirect: tls.Redirect | None = None
        self.member: Member | None = None  # where several processes serve
        self.access_log: AccessLog | None = None  # in the place of the one that the settings name
        self.on_state: Callable[[WorkerState], object] | None = None  # called with each state after SERVING, in the hub
        self.on_hangup: Callable[[], object] | None = None  # called when a SIGHUP was obeyed, in the hub

    @property
    def _service(self) -> Worker | None:
        """The worker's former name, for programs whose tests look at its connections."""
        return self._worker

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, with the port that the system chose for port 0. Empty before `listen`."""
        return [address for _, address in self._sockets]

    @property
    def address(self) -> Address:
        """The first of `addresses`. Raises HubError when it does not listen."""
        if not self._sockets:
            raise HubError("the server does not listen yet: call start() or listen() first")
        return self._sockets[0][1]

    @property
    def url(self) -> str:
        """The first address as a URL, e.g. "http://127.0.0.1:8000"."""
        return self.address.url

    def on_request(self, handle: HandleRequest, handle_error: HandleError | None = None) -> HandleRequest:
        """Have `handle(request)` answer each request, in the place of a WSGI application. A decorator, if you like.

        handle: gets a `Request`; returns a `Response`, or what is one's body: str, bytes, an iterable of bytes; None
        is answered as 204. It runs in a green thread and may wait. handle_error: `handle_error(request, error)`
        answers, in the same way, when `handle` raises an Exception; without it the client gets a 500, and the log the
        traceback.
        Raises HubError when the server runs already.

        >>> server = greenserve.Server(bind="127.0.0.1:0")
        >>> @server.on_request
        ... def greet(request):
        ...     return f"hello {request.query['name'][0]}"
        >>> import urllib.request
        >>> with server:
        ...     urllib.request.urlopen(server.url + "/?name=Ada").read()
        b'hello Ada'
        """
        if self._worker is not None:
            raise HubError("the server is running already")
        self.application = application_of(handle, handle_error)
        return handle

    def listen(self) -> None:
        """Read the certificates and open the listening sockets. Harmless when they are open.

        Raises ConfigurationError, BindError.
        """
        self.bind()
        try:
            for listener, address in self._sockets:
                start_listening(listener, address, self.settings.backlog)
        except BaseException:
            self._close_sockets()
            raise

    def bind(self) -> None:
        """The part of `listen` that root may do for an unprivileged process; clients are refused as before.

        Raises ConfigurationError, BindError.
        """
        if self._sockets:
            return
        codec.check()
        self._read_certificates()
        try:
            for address in self.settings.bind:
                self._open(address, secure=self.tls is not None)
            if self.settings.redirect_https is not None:
                self._redirect_from(self._open(self.settings.redirect_https, secure=False))
        except BaseException:
            self._close_sockets()
            raise

    def adopt(self, listeners: list[tuple[ListeningSocket, Address]]) -> None:
        """Serve on sockets that listen already, instead of opening them; the addresses tell which speak TLS.

        Reads the certificates. The last one is that of `redirect_https`, where there is one.
        """
        self._read_certificates()
        self._sockets = listeners
        if self.settings.redirect_https is not None:
            self._redirect_from(listeners[-1][1])

    @property
    def listeners(self) -> list[tuple[ListeningSocket, Address]]:
        """What `adopt` takes, in another process."""
        return self._sockets

    def _read_certificates(self) -> None:
        proxied.check(self.settings)
        tls.check(self.settings)
        if self.tls is None and tls.is_on(self.settings):
            self.tls = tls.Contexts(self.settings)

    def _redirect_from(self, address: Address) -> None:
        secure = [each.port for each in self.addresses if isinstance(each, TcpAddress) and each.is_secure]
        port = self.settings.redirect_https_port or next(iter(secure), 443)
        self._redirect = tls.Redirect(address, port, self.settings.acme_dir)

    def _open(self, address: Address, *, secure: bool) -> Address:
        listener = bind_listener(address, self.settings.socket_access)
        bound = tls.with_scheme(bound_address(address, listener), on=secure)
        self._sockets.append((listener, bound))
        return bound

    def serve_forever(self, ready: Callable[[], None] | None = None, *, signals: bool = True) -> int:
        """Serve in this thread until SIGTERM or SIGINT (in the main thread), or `stop`. Returns an exit status.

        The first signal stops gracefully: requests in progress finish, within `graceful_timeout`. The second kills
        them. If there is a `drain_delay`, a SIGTERM begins with it, and one signal more ends it. The status is GRACEFUL
        (0), or FORCED (1) when requests were killed. Raises BindError.

        ready: called once when connections are accepted and signals are handled. Announce the server there: a signal
        sent on reading an earlier announcement would kill the process. signals: False leaves them to the program.
        """
        self._prepare()
        try:
            worker = self._make_worker()
        except BaseException:
            self._close_sockets()
            raise
        with self._signal_handlers(worker) if signals else contextlib.nullcontext():
            self._run(worker, ready)
        if worker.killed:
            logger.info(
                "stopped; %s killed", "1 request was" if worker.killed == 1 else f"{worker.killed} requests were"
            )
            return FORCED
        if self.member is None:
            logger.info("stopped")
        return GRACEFUL

    def start(self) -> Self:
        """Serve from an OS thread of its own. Returns when it listens. Raises BindError."""
        if self._worker is not None:
            raise HubError("the server is running already")
        self._prepare()
        hub = current_hub()
        hub.external += 1  # until the thread has begun, nothing shows that we will be woken
        started: Event[None] = Event()
        try:
            start_new_thread(self._serve_in_thread, (started,))
            started.wait()
        finally:
            hub.external -= 1
        return self

    def stop(self, grace: float | None = None) -> None:
        """Stop gracefully, in any thread, and wait for the end. grace: seconds, instead of `graceful_timeout`.

        Called by a request of the server itself it only begins the end, since it would wait for itself.
        """
        worker = self._worker
        if worker is None:
            self._close_sockets()
            return
        greenlet = running()
        worker.hub.call_soon_threadsafe(worker.drain, grace)
        if greenlet.hub is not worker.hub or greenlet is worker.hub.main:
            self._waiters.wait(unless=lambda: self._worker is None)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        if self.application is None:
            raise HubError("the server has no application: give it one, or a function by on_request")
        other_hubs.disarm()
        if self.settings.patch and not monkey.is_in_use():  # with --no-patch it is meant so
            warnings.warn(_NOT_PATCHED, monkey.NotPatchedWarning, stacklevel=monkey.users_level())
        on_demand.check(self.settings)
        self.listen()

    def _make_worker(self) -> Worker:
        assert self.application is not None  # _prepare has seen to it
        self._worker = worker = Worker(
            *(current_hub(), self.application, self.settings, self.access_log, self.tls, self._redirect),
            *(self.on_state, self.member),
        )
        return worker

    def _run(self, worker: Worker, ready: Callable[[], None] | None = None) -> None:
        try:
            worker.run(self._sockets, ready or bool)
        except BaseException:
            self._close_sockets()  # `run` has closed them, unless it has not come so far
            raise
        finally:
            self._sockets = []
            self._worker = None
            self._waiters.wake_all()

    def _serve_in_thread(self, started: Event[None]) -> None:
        try:
            worker = self._make_worker()
        except BaseException as error:
            self._close_sockets()
            started.send_exception(error)
            return
        started.send()
        try:
            self._run(worker)
        except BaseException as error:
            self.error = error
            logger.exception("the server's thread ended by an error")

    def _signal_handlers(self, worker: Worker) -> SignalHandlers:
        if self.member is None:
            return SignalHandlers(self._on_signal, self._on_note)
        return MemberSignals(self._on_signal, self._on_note, partial(show, worker))

    def _on_signal(self, signum: int) -> None:
        worker = self._worker
        if worker is None:
            return
        name = signal.Signals(signum).name
        # Not at Ctrl-C: there a person waits for the end, and no load balancer has to learn of it.
        delay = self.settings.drain_delay if signum == signal.SIGTERM else 0
        if worker.state is WorkerState.SERVING and delay:
            logger.info(
                "%s: stopping in %g seconds (drain_delay); until then all requests are answered, each as its "
                "connection's last, and a second signal ends the delay",
                *(name, delay),
            )
            worker.become_lame_duck(delay, lambda: self._drain(worker, "the drain delay is over"))
        elif not worker.draining:
            self._drain(worker, name if worker.state is WorkerState.SERVING else f"{name} again")
        elif signum != signal.SIGHUP:  # of which a closed terminal sends several
            logger.warning("%s again: stopping at once", name)
            worker.force(f"{name} came again")

    def _drain(self, worker: Worker, why: str) -> None:
        logger.info("%s: stopping%s", why, _what_is_waited_for(worker.pool.busy, self.settings.graceful_timeout))
        worker.drain()

    def _on_note(self, signum: int) -> None:
        name = signal.Signals(signum).name
        if signum == signal.SIGUSR2:
            logger.info("%s has no meaning here, and is ignored", name)
            return
        logger.info("%s: the access log is opened again if its file was renamed; nothing else changes", name)
        if self._worker is not None and self._worker.access_log is not None:
            self._worker.access_log.reopen()
        if signum == signal.SIGHUP and self.on_hangup is not None:
            self.on_hangup()

    def _close_sockets(self) -> None:
        sockets, self._sockets = self._sockets, []
        for listener, address in sockets:
            close_listener(listener, address)


def _check(application: object) -> None:
    """Raises TypeError for what is often given in the place of an application."""
    text = f"a WSGI application is callable with environ and start_response; {application!r} is"
    if isinstance(application, str):
        raise TypeError(f"{text} a str: import it (`from module import app`) and give the object")
    if isinstance(application, ModuleType):
        raise TypeError(f"{text} a module: give the application in it, such as {application.__name__}.app")
    if not callable(application):
        raise TypeError(f"{text} not callable")
    call = getattr(type(application), "__call__", None)  # noqa: B004 - what the call runs, not whether there is one
    if iscoroutinefunction(application) or iscoroutinefunction(call):
        raise TypeError(f"{text} asynchronous (ASGI); a2wsgi.ASGIMiddleware makes a WSGI application of one")


def _what_is_waited_for(busy: int, grace: float) -> str:
    if not busy:
        return ""
    requests = "1 request in progress has" if busy == 1 else f"{busy} requests in progress have"
    return f"; {requests} {grace:g} seconds to finish, and a second signal (Ctrl-C) stops at once"


@overload
def serve(application: Application, **options: Any) -> int: ...


@overload
def serve(application: Any, handle: Callable[[Any, Any], object], concurrency: int = 1000) -> None: ...


def serve(application: Any, *handler: Any, **options: Any) -> int | None:
    """Serve `application` until SIGTERM or SIGINT; see docs/settings.md for the options. Returns an exit status.

    For example `greenserve.serve(app, bind="0.0.0.0:8000")`. Raises ConfigurationError, BindError. The program calls
    `monkey_patch` first, so that a request that waits lets others run; without it, this warns (NotPatchedWarning).

    With a listening socket and a function it is Eventlet's `serve`, `greenserve.net.serve`: it calls
    `handle(sock, address)` for each connection, and returns None. A socket is not an application, so no call can mean
    both.

    >>> greenserve.monkey_patch()
    >>> import os, signal
    >>> def app(environ, start_response):
    ...     start_response("204 No Content", [])
    ...     return []
    >>> stop = greenserve.spawn_after(0.1, os.kill, os.getpid(), signal.SIGTERM)
    >>> greenserve.serve(app, bind="127.0.0.1:0")
    0
    """
    if hasattr(application, "accept") and not callable(application):
        serve_sockets(application, *handler, **options)
        return None
    if handler:
        raise TypeError("serve(app, **options) takes the options by keyword; serve(sock, handle) a listening socket")
    server = Server(application, **options)

    def announce() -> None:
        for address in server.addresses:
            report.write(f"greenserve: listening on {address.url}\n")  # logging is the program's to configure

    return server.serve_forever(announce)
