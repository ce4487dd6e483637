"""A tree of files, and what is answered for its paths, without a socket."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from greenserve.settings import Settings
from greenserve.static import with_static
from tests.wsgi.fakes import Wire, call, get

OLD = 1_700_000_000  # seconds: a time long past
NOT_THERE = b"the application's own page"


class Answer(NamedTuple):
    """What a client gets."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def is_the_applications(self) -> bool:
        return self.status == 404 and self.body == NOT_THERE


class ReadingWire(Wire):
    """Reads the file as the kernel would."""

    def finish_file(self, fd: int, offset: int, count: int) -> None:
        super().finish_file(fd, offset, count)
        self.sends.append(os.pread(fd, count, offset))


def application(environ: Any, start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [NOT_THERE]


def write(directory: Path, name: str, content: bytes = b"content", *, moment: int = OLD) -> Path:
    """A file of that age."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (moment, moment))
    return path


class Site:
    """`ask(path, ...)`: the answer of an application with `static` in front of it."""

    def __init__(self, *static: str, **options: Any) -> None:
        self.application = with_static(application, Settings.from_kwargs(static=list(static), **options))

    def ask(self, target: str, *, method: str = "GET", **fields: str) -> Answer:
        """fields: if_none_match='"a"' for If-None-Match."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        before = set(os.listdir("/proc/self/fd"))
        wire, _ = call(self.application, get(target, method=method, headers=lines), ReadingWire())
        left = {fd for fd in set(os.listdir("/proc/self/fd")) - before if os.path.exists(f"/proc/self/fd/{fd}")}
        assert not left, "a descriptor was left open"
        head, _, body = b"".join(wire.sends).partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        answer = Answer(int(line.split()[1]), {}, body)
        for each in rest:
            name, _, value = each.partition(": ")
            known = answer.fields.setdefault(name.lower(), value)
            assert known is value or name == "Vary", f"{name} is there twice"
            answer.fields[name.lower()] = value if known is value else f"{known}, {value}"
        if method != "HEAD" and answer.status not in (204, 304):
            assert int(answer.fields["content-length"]) == len(body)
        return answer


def parts_of(answer: Answer) -> list[tuple[dict[str, str], bytes]]:
    """The parts of multipart/byteranges, read by their own framing (RFC 2046 §5.1.1)."""
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", answer.fields["content-type"])[1].encode()
    pieces = answer.body.split(b"\r\n--" + boundary)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    parts = []
    for piece in pieces[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        parts.append((dict(line.split(": ") for line in head.decode("latin-1").split("\r\n")), content))
    return parts
