"""wsgi.file_wrapper: what is sent is what `read` gives, whether the kernel reads the file or we do."""

# ruff: noqa: SIM115 - the server closes them

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from greenserve.errors import InvalidResponse
from greenserve.wsgi import FileWrapper
from tests.wsgi.fakes import Wire, call

CONTENT = bytes(range(256)) * 400  # more than what is read and sent with the head


class ReadingWire(Wire):
    """Reads the file as the kernel would."""

    def finish_file(self, fd: int, offset: int, count: int) -> None:
        super().finish_file(fd, offset, count)
        self.sends.append(os.pread(fd, count, offset))


def respond(file, *headers, wrapper=FileWrapper):
    """Returns the body that is sent, and whether the kernel was to read the file."""

    def application(environ, start_response):
        start_response("200 OK", list(headers))
        return wrapper(file)

    wire, exchange = call(application, wire=ReadingWire())
    head, _, body = b"".join(wire.sends).partition(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" in head:
        chunks, body = io.BytesIO(body), b""
        while size := int(chunks.readline(), 16):
            body += chunks.read(size)
            chunks.readline()
    assert exchange.sent == len(body)
    return body, bool(wire.files)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def advanced(file, position=1000):
    file.seek(position)
    file.read(10)
    return file


def written_over_what_was_read(path):
    file = open(path, "r+b")
    file.read(1)
    file.seek(0)
    file.write(b"not yet in the file")
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "make",
    [
        lambda path: open(path, "rb"),
        lambda path: open(path, "rb", buffering=0),
        lambda path: open(path, "r+b"),
        lambda path: open(path, "a+b"),
        lambda path: advanced(open(path, "rb")),
        lambda path: advanced(open(path, "rb", buffering=0)),
        lambda path: advanced(open(path, "r+b")),
        written_over_what_was_read,
        lambda path: io.BufferedReader(io.FileIO(path), 16),
        lambda path: advanced(open(path, "rb"), 200_000),
    ],
)
def test_a_plain_file_goes_to_the_kernel(path, make):
    copy = Path(shutil.copy(path, path.with_suffix(".copy")))
    with make(copy) as file:
        expected = file.read()
    assert respond(make(path)) == (expected, bool(expected))


def test_a_temporary_file_with_a_name_goes_to_the_kernel():
    with tempfile.NamedTemporaryFile() as file:
        file.write(CONTENT)
        file.seek(5)
        assert respond(file) == (CONTENT[5:], True)


class Rotated(io.FileIO):
    """Decrypts."""

    def read(self, size=-1):
        return bytes(octet ^ 1 for octet in super().read(size))


class Limited(io.BufferedReader):
    """Ends early."""

    left = 7

    def read(self, size=-1):
        data = super().read(min(size, self.left) if size >= 0 else self.left)
        self.left -= len(data)
        return data


class RawWithAnotherEnd(io.FileIO):
    """Ends early where a buffer reads it."""

    def readinto(self, buffer):
        return 0


class Wrapper:
    """Has a `file`, whose bytes it changes."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def read(self, size=-1):
        return self.file.read(size)[::-1]


class LikeTemporary(tempfile._TemporaryFileWrapper):
    def read(self, size=-1):
        return self.file.read(size)[::-1]


def replaced(file):
    inner = file.read
    file.read = lambda size=-1: inner(size)[::2]
    return file


def replaced_below(file):
    file.raw.readinto = lambda buffer: 0
    return file


def compressed(path, module):
    packed = path.with_suffix(".packed")
    with module.open(packed, "wb") as file:
        file.write(CONTENT)
    return module.open(packed, "rb")


def named_temporary_file():
    file = tempfile.NamedTemporaryFile()
    file.write(CONTENT)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "make",
    [
        lambda path: compressed(path, gzip),
        lambda path: io.BufferedReader(compressed(path, gzip)),
        lambda path: io.BufferedReader(compressed(path, bz2)),
        Rotated,
        lambda path: io.BufferedReader(Rotated(path)),
        lambda path: Limited(io.FileIO(path)),
        lambda path: io.BufferedReader(RawWithAnotherEnd(path)),
        lambda path: Wrapper(open(path, "rb")),
        lambda path: LikeTemporary(open(path, "rb"), "x", delete=False),
        lambda path: replaced(open(path, "rb")),
        lambda path: replaced(open(path, "rb", buffering=0)),
        lambda path: replaced(named_temporary_file()),
        lambda path: replaced_below(open(path, "rb")),
        lambda path: io.BytesIO(path.read_bytes()),
    ],
)
def test_what_is_not_exactly_a_plain_file_is_read(path, make):
    blocks = []
    with contextlib.closing(make(path)) as file:
        while block := file.read(65536):
            blocks.append(block)
    body, _ = respond(make(path))
    assert body == b"".join(blocks)


@pytest.mark.parametrize("name", ["/proc/self/status", "/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"])
def test_a_file_that_is_made_when_it_is_read_does_not_come_out_empty(name):
    if not Path(name).exists():
        pytest.skip(f"there is no {name} here")
    body, by_kernel = respond(open(name, "rb"))
    assert body.split()[:2] == Path(name).read_bytes().split()[:2]
    assert body
    assert not by_kernel


def test_an_empty_file_has_an_empty_body(path):
    path.write_bytes(b"")
    assert respond(open(path, "rb")) == (b"", False)


@pytest.mark.parametrize("mode", ["wb", "ab"])
@pytest.mark.parametrize("buffering", [0, -1])
def test_a_file_that_cannot_be_read_says_so(path, mode, buffering):
    with pytest.raises(io.UnsupportedOperation):
        respond(open(path, mode, buffering=buffering))


def test_a_closed_file_and_one_without_its_buffer_say_so(path):
    closed = open(path, "rb")
    closed.close()
    detached = open(path, "rb")
    raw = detached.detach()
    for file in (closed, detached):
        with pytest.raises(ValueError, match=r"closed|detached"):
            respond(file)
    raw.close()


def test_text_is_refused(path):
    path.write_text("text")
    with pytest.raises(InvalidResponse, match="made of bytes"):
        respond(open(path, encoding="utf-8"))


def test_a_wrapper_of_the_applications_own_kind_is_iterated(path):
    class Shouting(FileWrapper):
        def __next__(self):
            return super().__next__().upper()

    path.write_bytes(b"quiet")
    assert respond(open(path, "rb"), wrapper=Shouting) == (b"QUIET", False)


@pytest.mark.parametrize("make", [lambda path: open(path, "rb"), lambda path: io.BytesIO(path.read_bytes())])
def test_a_range_of_a_file_is_sent_up_to_its_length(path, make):
    file = make(path)
    file.seek(100)
    body, _ = respond(file, ("Content-Length", "50"))
    assert body == CONTENT[100:150]


def test_of_a_range_no_block_is_read_that_it_does_not_need(path):
    class Pipe(io.BytesIO):
        def read(self, size=-1):
            data = super().read(size)
            if not data:
                pytest.fail("waited for more than the range has")
            return data

    body, _ = respond(Pipe(CONTENT[:100]), ("Content-Length", "100"))
    assert body == CONTENT[:100]
