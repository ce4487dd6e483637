"""What a descriptor of another process is bound to, if that is a socket that listens: read from proc(5), Linux only."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from greenserve.settings import TcpAddress, UnixAddress

_FAMILIES = {"tcp": socket.AF_INET, "tcp6": socket.AF_INET6}


def address_of(pid: int, fd: int) -> TcpAddress | UnixAddress | None:
    """The address of descriptor `fd` of the process; None where that is not known."""
    try:
        inode = Path(f"/proc/{pid}/fd/{fd}").readlink().name.removeprefix("socket:[").removesuffix("]")
        for table, family in _FAMILIES.items():
            for row in _rows(pid, table):
                if row[9] == inode:
                    host, _, port = row[1].partition(":")
                    return TcpAddress(socket.inet_ntop(family, _in_network_order(host)), int(port, 16))
        paths = (row[7] for row in _rows(pid, "unix") if row[6] == inode and len(row) > 7)
        return next((UnixAddress(path) for path in paths), None)
    except OSError:  # another user's process, or no Linux
        return None


def _rows(pid: int, table: str) -> list[list[str]]:
    path = Path(f"/proc/{pid}/net/{table}")
    return [line.split(maxsplit=7 if table == "unix" else -1) for line in path.read_text().splitlines()[1:]]


def _in_network_order(address: str) -> bytes:
    """address: hexadecimal, each of its words of 32 bits as this processor has it in memory."""
    data = bytes.fromhex(address)
    count = len(data) // 4
    return struct.pack(f"={count}I", *struct.unpack(f">{count}I", data))
