"""A handshake in memory: what a client and a server make of each other, without sockets."""

from __future__ import annotations

import ssl
from pathlib import Path

from greenserve.tls import Contexts
from greenserve.tls.certificates import Pair


def client_context(ca: Path, pair: Pair | None = None) -> ssl.SSLContext:
    """A client's context that trusts `ca`, and shows the certificate of `pair`."""
    context = ssl.create_default_context(cafile=ca)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def shake_hands(
    contexts: Contexts, client: ssl.SSLContext, name: str | None, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """The client's end and the server's, connected. Raises the ssl.SSLError of the end that refuses first."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    if name is None:
        client.check_hostname = False
    ours = client.wrap_bio(down, up, server_hostname=name, session=session)
    theirs = contexts.context().wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for end in (ours, theirs):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    theirs.write(b"x")  # the tickets of TLS 1.3 come with it
    assert ours.read(1) == b"x"
    return ours, theirs


def names_shown(contexts: Contexts, client: ssl.SSLContext, name: str | None) -> tuple[str, ...]:
    """The names in the certificate that a client is shown when it asks for `name`."""
    ours, _ = shake_hands(contexts, client, name)
    told = ours.getpeercert()
    assert told is not None
    return tuple(value for _, value in told["subjectAltName"])
