"""What the tests' clients put on the wire: requests, handshakes, WebSocket frames."""

from __future__ import annotations

import zlib

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
COMPRESSED = 4  # the reserved bit of RFC 7692
NO_MASK = bytes(4)  # a key that changes nothing, so that a megabyte need not be masked in Python


def request(method: str, path: str, *fields: str, version: str = "1.1") -> bytes:
    """A request's head."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: test", *fields, "", ""]).encode()


def get(path: str = "/", *fields: str, version: str = "1.1") -> bytes:
    return request("GET", path, *fields, version=version)


def post(path: str = "/echo", *fields: str) -> bytes:
    return request("POST", path, *fields)


def upgrade(path: str = "/", *fields: str, compressed: bool = False) -> bytes:
    """The handshake of a WebSocket; with `compressed` it offers permessage-deflate."""
    extension = ("Sec-WebSocket-Extensions: permessage-deflate",) if compressed else ()
    key = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
    return get(path, "Upgrade: websocket", "Connection: Upgrade", *key, *extension, *fields)


def xor(data: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(data))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = NO_MASK,
    length: int | None = None,
    wide: int = 0,
) -> bytes:
    """One frame. key=None leaves it unmasked; `length` lies about the payload; `wide` spends 2 or 8 bytes on it."""
    size = len(payload) if length is None else length
    flag = 0 if key is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size <= 125 and not wide:
        head += bytes([flag | size])
    elif size <= 0xFFFF and wide != 8:
        head += bytes([flag | 126]) + size.to_bytes(2)
    else:
        head += bytes([flag | 127]) + size.to_bytes(8)
    return head + (key or b"") + (xor(payload, key) if key and key != NO_MASK else payload)


def deflated(data: bytes) -> bytes:
    """A message's payload as RFC 7692 §7.2.1 makes it."""
    compressor = zlib.compressobj(9, wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
