"""The upload: every byte counted, nothing kept, and the watcher told what has arrived."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import pytest

from greenserve.demo import upload as upload_module
from greenserve.demo.upload import MAX_KNOWN, Upload, UploadState, receive, reports
from greenserve.demo.web import Refused
from tests.demo.support import Clock, begun, call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(upload_module, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    upload_module._known.clear()
    yield
    upload_module._known.clear()


class Chunked(io.BytesIO):
    """A body whose end the server marks; it hands out less than asked for, as sockets do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 1000))


def test_the_answer_has_the_count_and_the_hash() -> None:
    body = bytes(range(256)) * 1000
    answer = call("POST", "/upload", body)
    assert answer.status == 200
    assert answer.lines[0]["received"] == 256_000
    assert answer.lines[0]["sha256"] == hashlib.sha256(body).hexdigest()


def test_a_chunked_body_is_read_to_its_end() -> None:
    more: dict[str, Any] = {"wsgi.input": Chunked(b"x" * 70_001), "wsgi.input_terminated": True}
    assert call("POST", "/upload", **more).lines[0]["received"] == 70_001


def test_a_body_without_length_and_without_a_marked_end_is_taken_as_empty() -> None:
    assert call("POST", "/upload", **{"wsgi.input": Chunked(b"never touched")}).lines[0]["received"] == 0


def test_no_byte_beyond_the_declared_length_is_read() -> None:
    stream = io.BytesIO(b"12345next request")
    receive(stream, Upload(total=5), 0)
    assert stream.read() == b"next request"


def test_a_body_that_ends_early_is_refused_and_the_watcher_told() -> None:
    answer = call("POST", "/upload?id=a", b"1234", CONTENT_LENGTH="5")
    assert answer.status == 400
    assert "after 4 of 5 bytes" in answer.text
    assert upload_module._known["a"].state is UploadState.FAILED


def test_a_body_beyond_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "MAX_UPLOAD", 10)
    assert call("POST", "/upload", b"x" * 11).status == 413


def test_a_chunked_body_is_cut_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "MAX_UPLOAD", 2500)
    body = Chunked(b"x" * 10_000)
    assert call("POST", "/upload", **{"wsgi.input": body, "wsgi.input_terminated": True}).status == 413
    assert body.tell() == 3000


def test_a_paced_upload_is_read_at_that_pace(clock: Clock) -> None:
    call("POST", "/upload?pace=65536", bytes(4 * 65536))
    assert clock.now == pytest.approx(1004.0)


def test_a_name_is_good_for_one_upload() -> None:
    assert call("POST", "/upload?id=a", b"x").status == 200
    assert call("POST", "/upload?id=a", b"x").status == 409


@pytest.mark.parametrize("query", ["pace=1", "pace=fast", "id=", "id=a%20b"])
def test_an_upload_with_odd_parameters_is_refused(query: str) -> None:
    assert call("POST", f"/upload?{query}", b"x").status == 400


def test_a_watcher_sees_the_bytes_arrive(clock: Clock) -> None:
    with begun("GET", "/upload/watch?id=a") as (_, pieces):
        assert b"awaited" in next(pieces)
        progress = upload_module._known["a"]
        progress.state, progress.received, progress.total = UploadState.RECEIVING, 10, 20
        assert b'"received":10,"total":20,"state":"receiving"' in next(pieces)
        progress.state, progress.received = UploadState.COMPLETE, 20
        assert b"complete" in next(pieces)
        assert list(pieces) == []


def test_a_watcher_that_comes_late_is_told_at_once() -> None:
    call("POST", "/upload?id=a", b"12345")
    assert call("GET", "/upload/watch?id=a").lines == [{"received": 5, "total": 5, "state": "complete"}]


def test_a_watcher_gives_up_when_no_news_come(clock: Clock) -> None:
    assert len(list(reports(Upload()))) == 1
    assert clock.now == pytest.approx(1000 + upload_module.WATCH_PATIENCE, abs=0.2)


def test_a_watcher_says_whom_it_watches() -> None:
    answer = call("GET", "/upload/watch")
    assert answer.status == 400
    assert "id=NAME" in answer.text


def test_only_so_many_uploads_are_remembered_the_latest_ones() -> None:
    for number in range(MAX_KNOWN + 10):
        call("POST", f"/upload?id=n{number}", b"")
    assert len(upload_module._known) == MAX_KNOWN
    assert "n9" not in upload_module._known
    assert "n10" in upload_module._known


def test_the_limit_cuts_a_body_whose_length_was_not_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "MAX_UPLOAD", 100)
    progress = Upload()
    with pytest.raises(Refused, match="100 bytes"):
        receive(io.BytesIO(b"x" * 101), progress, 0)
