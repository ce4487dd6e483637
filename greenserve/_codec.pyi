"""What the compiled codec has. Each function is described at its twin in Python."""

from typing_extensions import Buffer

from greenserve.http.response_headers import CheckedHeaders

SOURCE: int
"""The CRC-32 of the _codec.c that it was compiled from."""

# -- WebSocket: websocket/protocol/mask.py, plain.py

def apply_mask(data: Buffer, key: bytes, /) -> bytes: ...
def plain_frame(message: str | bytes, key: bytes, /) -> bytes | None: ...
def plain_message(buffer: bytes, start: int, masked: bool, limit: int, /) -> tuple[str | bytes, int] | None: ...

# -- response head: http/response_headers.py

def plain_response(status: object, headers: object, /) -> CheckedHeaders | None: ...

# -- request head: http/plain_head.py

def plain_head(
    data: bytes, at: int, max_head: int, max_target: int, max_method: int, max_header_count: int, /
) -> tuple[int, str, str, str, str, str, int, bool, bool, dict[str, str]] | None: ...
