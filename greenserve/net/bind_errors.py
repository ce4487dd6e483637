"""Why an address could not be bound, in one sentence: the holder, if it is known, and what to do.

Only Linux lists listeners, in /proc (proc(5)); elsewhere, and for other users' processes, less is said, never a guess.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import pwd
import re
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from greenserve.errors import BindError
from greenserve.settings import Address, TcpAddress, UnixAddress, conceal

_PROC = Path("/proc")
_LISTEN = "0A"  # TCP_LISTEN of the kernel's include/net/tcp_states.h
_COMMAND_LENGTH = 80  # characters of a command line that are shown
_OF_INTERPRETER = re.compile(r"^\S+ -S -E \S+ (\d+ )?(?=greenserve )")  # of a supervisor's: it says nothing to a reader


@dataclass(frozen=True, slots=True)
class _Listener:
    host: str
    port: int
    inode: str
    uid: int


def who_listens(host: str, port: int) -> str | None:
    """The process that listens on a TCP port in a way that keeps `host` from it; None if none does, or it is unknown.

    The text is like "pid 4711 (python3 -m http.server)"; for a process of another user, whose descriptors may not be
    read, it is "a process of user www-data".
    """
    wanted = _numeric(host)
    # Every match, not the first: with SO_REUSEPORT several share a port, and the readable one says most.
    found = [each for each in _listeners() if each.port == port and _collide(each.host, wanted)]
    holders = _holders({each.inode for each in found})
    for each in found:
        if each.inode in holders:
            return holders[each.inode]
    return f"a process of user {_user(found[0].uid)}" if found else None


def who_listens_at(path: str) -> str | None:
    """The process that listens on a Unix stream socket, as `who_listens` has it; None for none, or an unknown one."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
            pid, uid, _ = struct.unpack("iII", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return None
    return _describe(_PROC / str(pid)) if pid else f"a process of user {_user(uid)}"


def bind_error(address: Address, error: OSError) -> BindError:
    """The error to raise `from error` when listening on `address` failed. Its errno is that of `error`."""
    failure = BindError(f"cannot listen on {address}: {_reason(address, error)}")
    failure.errno = error.errno
    return failure


def _reason(address: Address, error: OSError) -> str:
    if isinstance(address, UnixAddress):
        return _unix_reason(address, error)
    if isinstance(error, socket.gaierror) and isinstance(address, TcpAddress):
        return f"the host {address.host!r} has no address ({error.strerror})"
    if error.errno == errno.EADDRINUSE:
        holder = who_listens(address.host, address.port) if isinstance(address, TcpAddress) else None
        return f"it is in use by {holder or 'another process'}; {_IN_USE}"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this machine has that address; 0.0.0.0 or [::] means every interface"
    if error.errno == errno.EACCES and isinstance(address, TcpAddress):
        return f"permission denied; ports below {_first_free_port()} need the privilege CAP_NET_BIND_SERVICE"
    return error.strerror or str(error)


_IN_USE = "stop that one or choose another address with --bind"
_OTHER_PATH = "remove it, or name another path with --bind"


def _unix_reason(address: UnixAddress, error: OSError) -> str:
    path = Path(address.path)
    directory = path.parent
    if path.is_dir():
        return f"{path} is a directory; name the socket in it: --bind unix:{path / 'greenserve.sock'}"
    if error.errno == errno.EADDRINUSE:
        if path.is_symlink():
            return f"{path} is a symbolic link{'' if path.exists() else ' to nothing'}; {_OTHER_PATH}"
        if path.exists() and not path.is_socket():
            return f"{path} is a file, not a socket, and is left as it is; {_OTHER_PATH}"
        return f"it is in use by {who_listens_at(address.path) or 'another process'}; {_IN_USE}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
        must = "the directory of the socket must exist and be writable"
        if not directory.is_dir():
            there = "is not a directory" if directory.exists() else "does not exist"
            return f"{must}, and {directory} {there}; make it, or name another path with --bind"
        return f"{must}, and {directory} is not writable for the user {_user(os.geteuid())}"
    return error.strerror or str(error)


def _first_free_port() -> int:
    try:
        return int((_PROC / "sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _listeners() -> Iterator[_Listener]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue  # no Linux, or no IPv6
        for line in lines:
            # sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...
            columns = line.split()
            if columns[3] == _LISTEN:
                address, _, port = columns[1].partition(":")
                yield _Listener(_decode(address), int(port, 16), inode=columns[9], uid=int(columns[7]))


def _decode(address: str) -> str:
    """The kernel prints an address as 32-bit words in the byte order of the machine."""
    words = [bytes.fromhex(address[start : start + 8]) for start in range(0, len(address), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    found = ipaddress.ip_address(packed)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return str(found)


def _numeric(host: str) -> set[str]:
    try:
        return {str(ipaddress.ip_address(host))}
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {str(item[4][0]) for item in found}


def _collide(listening: str, wanted: set[str]) -> bool:
    """A wildcard stands in the way of every address; `::` in that of IPv4 too (IPV6_V6ONLY: /proc hides it)."""
    if listening in wanted or listening == "::" or "::" in wanted:
        return True
    ipv4 = {each for each in wanted if ":" not in each}
    if listening == "0.0.0.0":  # noqa: S104 - compared, not bound
        return bool(ipv4)
    return "0.0.0.0" in ipv4 and ":" not in listening  # noqa: S104 - compared, not bound


def _holders(inodes: set[str]) -> dict[str, str]:
    """Which process has each socket open; those of other users are left out, their descriptors may not be read."""
    found: dict[str, str] = {}
    for process in _PROC.iterdir() if inodes else ():
        for link in _descriptors(process) if process.name.isdigit() else ():
            match = re.fullmatch(r"socket:\[(\d+)\]", link)
            if match and match[1] in inodes:
                found.setdefault(match[1], _describe(process))
    return found


def _descriptors(process: Path) -> Iterator[str]:
    try:
        for link in (process / "fd").iterdir():
            # A descriptor may be closed meanwhile; in our own process the one that listed the directory always is.
            with suppress(FileNotFoundError):
                yield str(link.readlink())
    except OSError:
        return  # not ours to read, or gone


def _describe(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        words = []
    command = " ".join(word.decode(errors="replace") for word in words)
    command = conceal(_OF_INTERPRETER.sub("", command))  # its options may have a password
    if len(command) > _COMMAND_LENGTH:
        command = command[: _COMMAND_LENGTH - 3] + "..."
    return f"pid {process.name} ({command})" if command else f"pid {process.name}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
