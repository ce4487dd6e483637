"""What the compiled codec has. Each function is described at its twin in Python."""

from typing_extensions import Buffer

# -- WebSocket: websocket/protocol/mask.py

def apply_mask(data: Buffer, key: bytes, /) -> bytes: ...
