"""What processes that share rooms send each other. No I/O here: bytes and messages in, bytes and changes out."""

from typing import Final

MAX_PAYLOAD: Final = 16 << 20  # bytes
