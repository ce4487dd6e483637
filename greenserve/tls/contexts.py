"""The `ssl.SSLContext` of each new connection: made of the settings, renewed when the files change, chosen by name.

Strategy. Each group of certificates that share a name has one context. A context is made again when its files change,
and no other is. Sessions are resumed by the tickets of the default context, whose keys are OpenSSL's own and are made
with it: what is forked later has the same, so a client may come back to any of the processes. That context is made
again each day, since its keys open all that was said in TLS 1.2 by way of its tickets; then clients shake hands in
full. Several workers take those of the next days from what was made before the fork, so that they go on having the same
keys, for which `ssl` has no other way.

Invariant. What is in use was loaded whole and checked. What cannot be used is refused, with the reason in the log, and
the one before it stays.
"""

from __future__ import annotations

import logging
import ssl
import time
import traceback
from collections.abc import Callable
from typing import Any

from greenserve.errors import ConfigurationError, LoadError
from greenserve.loading import load_function
from greenserve.settings import Settings
from greenserve.tls.certificates import Certificate, Pair, check_authorities, load_into, read, read_password, stamp_of
from greenserve.tls.client import connection_environ
from greenserve.tls.listeners import check
from greenserve.tls.names import Group, NameTable
from greenserve.tls.unreadable import keep_quiet
from greenserve.tls.watching import FileWatch

logger = logging.getLogger("greenserve.server")

ALPN = ["http/1.1"]
DAY = 86400.0  # seconds
AHEAD = 14  # days; each takes 20 KiB and a millisecond, and code is seldom served for longer
EXPIRY_DAYS = (
    14  # certificates of 90 days are renewed 30 days before their end: then renewing has failed for half of it
)
_VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def make_context(settings: Settings) -> ssl.SSLContext:
    """A server's context without certificates. Raises ConfigurationError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.tls_min_version]
    # RFC 5746 or not: a client that asks for it makes the server work, and no browser does.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Mozilla's intermediate profile leaves the choice to the client, which knows whether it has instructions for AES.
    # Its groups (X25519, P-256, P-384) are among the first of OpenSSL's defaults; `ssl` could name one alone.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.set_ciphers(settings.tls_ciphers)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"tls_ciphers = {settings.tls_ciphers!r} names no cipher suite that OpenSSL has ({ssl.OPENSSL_VERSION}); "
            "`openssl ciphers -v` lists them"
        ) from error
    context.set_alpn_protocols(ALPN)
    if settings.tls_client_ca is not None:
        check_authorities(settings.tls_client_ca)
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"the certificates in {settings.tls_client_ca} (from tls_client_ca) cannot be read: {error}"
            ) from error
        context.verify_mode = _VERIFY[settings.tls_client_verify]
    return context


class Contexts:
    """What listeners that speak TLS ask. Made before the listeners open. Raises ConfigurationError (LoadError)."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        check(settings)
        self._settings = settings
        self._clock = clock
        self._adapt = load_function(settings.tls_context, "tls_context") if settings.tls_context else None
        keys = settings.tls_key or settings.tls_cert
        self._pairs = list(dict.fromkeys(Pair(*files) for files in zip(settings.tls_cert, keys, strict=True)))
        self._common = [path for path in (settings.tls_client_ca, settings.tls_key_password_file) if path is not None]
        self._watch = FileWatch([*settings.tls_cert, *keys, *self._common])
        self._read: dict[Pair, Certificate] = {}
        self._made: dict[Group[Pair], tuple[object, ssl.SSLContext]] = {}
        self._ahead: tuple[object, list[ssl.SSLContext]] = None, []  # for the next days; and what they are made of
        self._table: NameTable[Pair]
        self._default: ssl.SSLContext
        refused = self._load()
        if refused:
            raise refused[0]
        self._next_notes = self._clock()
        self._tickets_until = self._next_notes + DAY

    def make_ahead(self) -> None:
        """Before processes are forked: make what they take into use on each of the next days."""
        group = self._table.default
        password = read_password(self._settings.tls_key_password_file)
        self._ahead = self._made[group][0], [self._make(group, password) for _ in range(AHEAD)]

    # -- asked for each connection

    def context(self) -> ssl.SSLContext:
        """The newest, for a new connection; another may take its place when the client names its server."""
        return self._default

    def environ(self, tls: ssl.SSLObject) -> dict[str, str]:
        """What the environ of each request has of a connection whose handshake is complete."""
        asks = self._settings.tls_client_ca is not None or self._adapt is not None
        return connection_environ(tls, getattr(tls, "server_name", None), asks=asks)

    def _choose(self, tls: Any, name: str | None, context: ssl.SSLContext) -> None:
        """OpenSSL has read the name that the client asks for (`ssl.SSLContext.sni_callback`)."""
        tls.server_name = name
        if name is not None:
            chosen = self._made[self._table.find(name)][1]
            if chosen is not context:
                tls.context = chosen

    # -- once a second

    def refresh(self) -> None:
        """Load what has changed, and say once a day what will expire soon. Raises nothing that a file can cause."""
        now = self._clock()
        if now >= self._tickets_until:
            passed = int((now - self._tickets_until) / DAY)  # of which nothing was noticed, since the process is young
            self._tickets_until += (passed + 1) * DAY
            del self._ahead[1][:passed]
            self._made[self._table.default] = None, self._default
            self._reload()
        if self._watch.has_changed():
            self._reload()
        if now >= self._next_notes:
            self._next_notes = now + DAY
            for note in self.notes():
                logger.warning("%s", note)

    def _reload(self) -> None:
        before, made = dict(self._read), self._made.copy()
        for reason in dict.fromkeys(map(str, self._load())):
            logger.error("%s. What was in use stays in use", reason)
        fresh = {
            pair
            for group, (_, context) in self._made.items()
            if (made.get(group) or (0, 0))[1] is not context
            for pair in group
        }
        for pair in self._pairs:
            if pair in fresh and self._read[pair] != before[pair]:
                logger.info("the certificate %s was renewed; it is valid until %s", pair, _date(self._read[pair]))

    @property
    def certificates(self) -> list[Certificate]:
        """Those in use, in the order of the settings."""
        return [self._read[pair] for pair in self._pairs]

    def notes(self) -> list[str]:
        """What is wrong with the certificates, or will be soon."""
        now, notes = self._clock(), []
        for certificate in self.certificates:
            left = (certificate.not_after - now) / DAY
            if left < 0:
                notes.append(f"the certificate {certificate.pair} has expired on {_date(certificate)}: renew it")
            elif left < EXPIRY_DAYS:
                days = f"{left:.0f} days" if left >= 1.5 else f"{left * 24:.0f} hours"
                notes.append(f"the certificate {certificate.pair} expires in {days}, on {_date(certificate)}: renew it")
            if not certificate.names:
                notes.append(f"the certificate {certificate.pair} has no subjectAltName: no browser will accept it")
        return notes

    # -- loading

    def _load(self) -> list[ConfigurationError]:
        """Read what has changed. Returns why some of it is refused; then what was there before stays, if any was."""
        refused: list[ConfigurationError] = []
        password = None
        try:
            password = read_password(self._settings.tls_key_password_file)
        except ConfigurationError as error:
            refused.append(error)
        now = self._clock()
        for pair in self._pairs:
            try:
                if pair not in self._read or self._read[pair].stamp != (stamp_of(pair.certificate), stamp_of(pair.key)):
                    self._read[pair] = read(pair, password, now)
            except ConfigurationError as error:
                refused.append(error)
        if len(self._read) < len(self._pairs):
            return refused
        table = NameTable([(pair, self._read[pair].names) for pair in self._pairs])
        made = {}
        for group in table.groups:
            try:
                made[group] = self._renewed(group, password)
            except ConfigurationError as error:
                refused.append(error)
                if group not in self._made:
                    return refused
                made[group] = self._made[group]
        self._table, self._made, self._default = table, made, made[table.default][1]
        callback: Any = self._default.sni_callback
        if callback is None:  # else it is the function's own
            self._default.sni_callback = self._choose
            keep_quiet()
        return refused

    def _renewed(self, group: Group[Pair], password: bytes | None) -> tuple[object, ssl.SSLContext]:
        """What a context is made of (None: it is too old), and the context. Raises ConfigurationError."""
        content = [self._read[pair] for pair in group], [stamp_of(path) for path in self._common]
        made = self._made.get(group)
        if made is not None and made[0] == content:
            return made
        of, ahead = self._ahead
        return content, ahead.pop(0) if ahead and of == content else self._make(group, password)

    def _make(self, group: Group[Pair], password: bytes | None) -> ssl.SSLContext:
        context = make_context(self._settings)
        for pair in reversed(group):  # of two with the same kind of key the later call counts, which is the first pair
            load_into(context, pair, password)
        return context if self._adapt is None else self._adapted(context, self._adapt)

    def _adapted(self, context: ssl.SSLContext, adapt: Callable[..., Any]) -> ssl.SSLContext:
        name = f"the function {self._settings.tls_context} (from tls_context)"
        try:
            found = adapt(context)
        except Exception as error:
            details = "".join(traceback.format_exception(error))
            raise LoadError(f"{name} failed: {type(error).__name__}: {error}", details) from error
        if not isinstance(found, ssl.SSLContext):
            hint = "; is a `return` missing?" if found is None else ""
            raise LoadError(f"{name} returned {found!r}, which is not an ssl.SSLContext{hint}")
        if found.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise LoadError(f"{name} returned a client's context: make it by ssl.PROTOCOL_TLS_SERVER")
        return found


class FixedContext:
    """What listeners ask where the program has made the context: there is nothing to renew."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def context(self) -> ssl.SSLContext:
        """The program's."""
        return self._context

    def environ(self, tls: ssl.SSLObject) -> dict[str, str]:
        """As `Contexts.environ`; the name that the client asked for is not known."""
        return connection_environ(tls, None, asks=True)

    def refresh(self) -> None:
        """Nothing."""


def _date(certificate: Certificate) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(certificate.not_after))
