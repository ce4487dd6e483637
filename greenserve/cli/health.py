"""`greenserve health`: whether the server of a container answers, for Docker's HEALTHCHECK and its like.

Where it listens follows from the command line, the environment and the file that process 1 was started with (proc(5));
if process 1 is not greenserve, from this process's own environment.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from pathlib import Path
from typing import NamedTuple

from greenserve.net.proxy_protocol import LOCAL
from greenserve.process import init
from greenserve.process.role import TITLE
from greenserve.process.sockets import address_of
from greenserve.settings import Address, FdAddress, TcpAddress, UnixAddress, parse_address
from greenserve.supervisor import handed

TIMEOUT = 4.0  # seconds; the Dockerfile gives the whole command 5
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is asked when every interface is listened on
_WANTS_A_CERTIFICATE = ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE")
_INITS = ("docker-init", "tini", "dumb-init", "catatonit")  # `docker run --init`: the server is their child


class Unhealthy(Exception):
    """The text names the address, and why the server there counts as unhealthy."""


class Running(NamedTuple):
    """A server's process: how it was started, and in which directory it is."""

    pid: int
    arguments: list[str]
    environ: dict[str, str]
    directory: Path

    def meant_for(self, pid: int) -> dict[str, str]:
        """Its environment, with sockets that were passed to it as if they were passed to process `pid`."""
        passed = self.environ.get("LISTEN_PID") in (str(self.pid), "1")  # 1: whose child it is, see process/init.py
        return self.environ | ({"LISTEN_PID": str(pid)} if passed else {})

    def listeners(self) -> list[Address]:
        """Where it listens, if it is a supervisor, which was told; else nothing."""
        told = handed.take(handed.TO_SUPERVISOR, self.environ)
        return [] if told is None else [parse_address(address) for _, address in told.listeners]


def server_of(pid: int) -> Running | None:
    """The greenserve that is process `pid`, or its child; None for none."""
    words = _words(pid, "cmdline")
    if words and (Path(words[0]).name in _INITS or words[3:4] == [init.__file__]):
        children = Path(f"/proc/{pid}/task/{pid}/children")
        pids = [int(child) for child in children.read_text().split()] if children.exists() else []
        return next((found for child in pids if (found := server_of(child))), None)
    if words and words[0].startswith(TITLE):  # a template, or a worker: the supervisor's command line says more
        return server_of(_parent(pid))
    # `greenserve ...`, `python -m greenserve ...`, `python -S -E .../supervisor/__main__.py greenserve ...`
    at = next((at for at, word in enumerate(words[:5]) if Path(word).name == "greenserve"), None)
    if at is None:
        return None
    environ = dict(word.split("=", 1) for word in _words(pid, "environ") if "=" in word)
    try:
        return Running(pid, words[at + 1 :], environ, Path(f"/proc/{pid}/cwd").resolve())
    except OSError:
        return None


def bound(address: Address, server: Running | None) -> Address:
    """What `address` is bound to, if it is a descriptor of the server's. Raises Unhealthy where that is not known."""
    if not isinstance(address, FdAddress):
        return address
    found = None if server is None else address_of(server.pid, address.fd)
    if found is None:
        raise Unhealthy(f"{address} is a descriptor of the server's: say what it is bound to with --bind")
    return found


def ask(address: Address, directory: Path, *, proxied: bool = False) -> int:
    """The status that the server at `address` answers with to HEAD /. Raises Unhealthy when there is no answer.

    address: `bound`. directory: where the server runs, for the relative path of a Unix socket. proxied: it expects a
    PROXY header.
    """
    assert not isinstance(address, FdAddress), "see bound"
    if isinstance(address, UnixAddress):
        connection: http.client.HTTPConnection = _UnixConnection(str(directory / address.path))
    else:
        connection = http.client.HTTPConnection(_ANY.get(address.host, address.host), address.port, timeout=TIMEOUT)
    try:
        connection.connect()
        if proxied:
            connection.sock.sendall(LOCAL)
        if isinstance(address, TcpAddress) and address.is_secure:
            connection.sock = _whatever_it_shows().wrap_socket(connection.sock)
        connection.request("HEAD", "/", headers={"Host": "localhost"})
        return connection.getresponse().status
    except ssl.SSLError as error:
        if error.reason in _WANTS_A_CERTIFICATE:  # tls_client_verify: it would answer a client that has one
            return 496  # nginx's number for it
        raise Unhealthy(f"{address} does not answer: {error}") from None
    except (OSError, http.client.HTTPException) as error:
        hint = "; with proxy_protocol, trusted_proxies must name this machine too" if proxied else ""
        raise Unhealthy(f"{address} does not answer: {error}{hint}") from None
    finally:
        connection.close()


def _whatever_it_shows() -> ssl.SSLContext:
    """It is asked by an address of this machine, which no certificate need have: that it answers is the question."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def _parent(pid: int) -> int:
    """Of a process that lives; 0 if it has just ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _words(pid: int, file: str) -> list[str]:
    try:
        return [os.fsdecode(word) for word in Path(f"/proc/{pid}/{file}").read_bytes().split(b"\0") if word]
    except OSError:  # not on Linux, or another user's process
        return []
