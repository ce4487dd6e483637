"""A connection that must begin with a PROXY header, before its TLS handshake or its first request.

The header is looked at, and taken once it is whole: not one byte of what follows, which is for another reader.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenserve.errors import ConfigurationError
from greenserve.net.proxy_protocol import MAX_SIZE, BadProxyHeader, ProxyHeader, read_header
from greenserve.server.arrival import Arrival
from greenserve.server.phases import Phase
from greenserve.server.stream import Stream
from greenserve.settings import Settings
from greenserve.wsgi.environ import PEER


def check(settings: Settings) -> None:
    """Raises ConfigurationError where no connection could be accepted."""
    if settings.proxy_protocol and not settings.trusted_proxies.entries:
        raise ConfigurationError(
            "proxy_protocol would refuse every connection, since trusted_proxies is none: name the proxies in "
            "trusted_proxies"
        )


class ProxiedArrival(Arrival):
    """A trusted proxy's connection, until it is known whose it is. Then it is welcome, as if the client had come.

    welcome: is called with the stream, address and port, whether it is https, and what the environ of each request has
    of the connection.
    """

    __slots__ = ("_welcome",)

    phase = Phase.PROXY

    def __init__(self, worker: Any, stream: Stream, peer: tuple[str, str], welcome: Callable[..., object]) -> None:
        self._welcome = welcome
        super().__init__(worker, stream, peer, worker.header_timeout)

    def switch(self) -> None:
        """Something has come."""
        stream = self.stream
        try:
            data = stream.peek(MAX_SIZE)
            if data == b"":  # it was only to be seen that the port is open
                self.close()
                return
            header = None if data is None else read_header(data)
            if header is None and not stream.descriptor.hangup:
                stream.on_readable(self)
            elif header is None:
                raise BadProxyHeader("it ended within its PROXY header")
            else:
                stream.receive(header.size)
                self._go_on(header)
        except BadProxyHeader as error:
            self._refuse(str(error))
        except OSError:  # it has gone
            self.close()
        except Exception:
            self.fail_alone()

    def expire(self) -> None:
        """Its deadline has passed."""
        self._refuse("its PROXY header did not arrive in time")

    def _refuse(self, why: str) -> None:
        self.worker.handshakes.report("refused the connection from %s: %s", self, why)
        self.close()

    def _go_on(self, header: ProxyHeader) -> None:
        stream = self.stream
        if header.client is not None and not self.worker.admission.admits_client(header.client[0]):
            self.close()
            return
        # What came behind the header is an event that has been: the next owner asks by itself.
        stream.drained = not stream.has_data()
        if header.client is None:
            self._welcome(stream, self.peer)
        elif header.tls:
            self._welcome(stream, header.client, https=True, known={PEER: self.peer})
        else:
            self._welcome(stream, header.client, known={PEER: self.peer})
        self.worker.forget(self)
