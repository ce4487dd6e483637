"""Every limit on what a peer may send, each with the reason for its number; those that users may set are settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What is incomplete is judged at every octet up to here, above once for so many: else a long line that comes octet by
# octet would be read again and again.
RECHECK: Final = 256


def is_due(seen: int, size: int) -> bool:
    """Whether an incomplete element that has grown from `seen` to `size` octets is to be judged again."""
    return size <= RECHECK or seen // RECHECK != size // RECHECK


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a message is read before it is refused. Sizes are in bytes; frozen, so that it can key a cache."""

    # 431. Browsers stop near 32 KiB of cookies; single sign-on adds tokens of several KiB.
    max_head: int = 64 * 1024
    # 431. A browser sends some 16 fields, a chain of proxies some 20 more; each one costs a loop step and a dict entry.
    max_header_count: int = 128
    # 414. RFC 9112 §3 asks for at least 8000; twice that leaves room for signed URLs and search forms sent by GET.
    max_target: int = 16 * 1024
    # 501. The longest registered method is UPDATEREDIRECTREF with 17 characters.
    max_method: int = 32
    # 400. RFC 9112 §2.2 asks to skip at least one CRLF before a request line; more than a few is a peer gone wrong.
    max_blank_lines: int = 8
    # 413. None: the application decides. Counted on the decoded body, so that chunked bodies cannot pass it. Forms,
    # calls of an API, photos and scans are below; a program that takes in films knows it. Many frameworks read a body
    # into memory: a dozen of the largest fit a small machine. Kestrel and IIS, made for the open, have 28.6 MiB.
    max_body: int | None = 32 * 1024 * 1024
    # 400. A size of 16 hex digits and extensions, which no client is known to use.
    max_chunk_line: int = 1024
    # 400. Chunk extensions are read and dropped: without a bound over the whole body, one byte of data could cost
    # a kilobyte of extensions, again and again.
    max_chunk_extensions: int = 16 * 1024
    # 431. Trailers carry a checksum or a status; no client sends pages of them.
    max_trailer: int = 8 * 1024
