"""What requests for files are answered, without a socket."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.http.conditions import format_date, parse_date
from tests.server.live import Client, serving
from tests.static.support import OLD, Site, application, parts_of, write

CONTENT = bytes(range(256)) * 300  # more than is sent with the head
BROWSER = "gzip, deflate, br, zstd"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    write(tmp_path, "app.js", b"let a = 1\n")
    write(tmp_path, "large.bin", CONTENT)
    write(tmp_path, "empty.css", b"")
    write(tmp_path, "docs/index.html", b"<!doctype html>")
    write(tmp_path, "bare/page.html", b"<!doctype html>")
    return Site(f"/static={tmp_path}")


def test_a_file_is_sent_with_what_a_cache_needs(site):
    answer = site.ask("/static/app.js")
    assert (answer.status, answer.body) == (200, b"let a = 1\n")
    del answer.fields["date"], answer.fields["server"]
    assert answer.fields == {
        "content-type": "text/javascript; charset=utf-8",
        "content-length": "10",
        "etag": f'"{OLD * 10**9:x}-a"',
        "last-modified": format_date(OLD),
        "accept-ranges": "bytes",
        "cache-control": "no-cache",
        "vary": "Accept-Encoding",
        "x-content-type-options": "nosniff",
    }


def test_a_large_and_an_empty_file_are_whole(site):
    assert site.ask("/static/large.bin").body == CONTENT
    assert site.ask("/static/empty.css").body == b""
    assert site.ask("/static/empty.css").fields["content-length"] == "0"


def test_head_gets_the_fields_of_get_and_no_body(site):
    answer, whole = site.ask("/static/large.bin", method="HEAD", range="bytes=0-1"), site.ask("/static/large.bin")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.fields == whole.fields


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
def test_a_file_is_there_to_be_read(site, method):
    answer = site.ask("/static/app.js", method=method)
    assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert site.ask("/static/missing", method=method).is_the_applications
    assert site.ask("/static/docs", method=method).status == 405


def test_options_says_what_can_be_done(site):
    answer = site.ask("/static/app.js", method="OPTIONS")
    assert (answer.status, answer.fields["allow"], answer.body) == (204, "GET, HEAD, OPTIONS", b"")


# What the application answers


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/static", "/staticapp.js", "/static/", "/static/missing.js", "/static/app.js/", "/static/app.js/more"),
        *("/static/bare", "/static/bare/", "/static//app.js", "//static/app.js", "/static/docs//index.html"),
        *("/static/" + "n" * 300, "/static/" + "n/" * 300, "/STATIC/app.js", "/static/APP.JS", "/static/app.js%20"),
        *(
            "/static/app.js.",
            "/static/app.js%2f",
            "/static%2Fapp.js",
            "/static/docs%2Findex.html",
            "/static/docs%5Cindex",
        ),
        *("/static/app.js%00", "/static/app.js%00.png", "/static/%c0%afapp.js", "/static/%ff%fe", "/static/%ed%a0%80"),
        *("/static/./app.js", "/static/docs/../app.js", "/static/%2e%2e/app.js", "/static/docs/%2e%2e/app.js"),
        *(
            "/static/..%2fapp.js",
            "/static/..%5capp.js",
            "/static/..;/app.js",
            "/static/app.js::$DATA",
            "/static/app.js;x",
        ),
        *("/static/...", "/static/%0d%0aapp.js", "/static/%7f"),
    ],
)
def test_what_is_not_there_is_the_applications(site, path):
    assert site.ask(path).is_the_applications


def test_a_path_is_percent_decoded_once(tmp_path):
    write(tmp_path, "a b.txt")
    write(tmp_path, "100%25.txt", b"literally")
    write(tmp_path, "grün.txt", b"green")
    (tmp_path / os.fsdecode(b"latin-\xfc.txt")).write_bytes(b"a name that is not UTF-8")
    site = Site(f"/={tmp_path}")
    assert site.ask("/a%20b.txt").status == 200
    assert site.ask("/100%2525.txt").body == b"literally"
    assert site.ask("/100%25.txt").is_the_applications
    assert site.ask("/gr%C3%BCn.txt").body == b"green"
    assert site.ask("/gr%CC%88un.txt").is_the_applications
    assert site.ask("/latin-%FC.txt").body == b"a name that is not UTF-8"
    assert site.ask("/a%20b.txt?a%2Fb").status == 200  # the query is no part of a name
    assert site.ask("http://other/a%20b.txt").status == 200


@pytest.mark.parametrize("name", [".env", ".git/config", "sub/.htaccess", ".well-known/.secret", "..", ".a", "..a"])
def test_hidden_files_stay_hidden(tmp_path, name):
    if name != "..":
        write(tmp_path, name)
    assert Site(f"/={tmp_path}").ask(f"/{name}").is_the_applications


def test_the_well_known_are_not_hidden(tmp_path):
    write(tmp_path, ".well-known/security.txt")
    assert Site(f"/={tmp_path}").ask("/.well-known/security.txt").status == 200
    assert Site(f"/.well-known={tmp_path}/.well-known").ask("/.well-known/security.txt").status == 200


@given(st.lists(st.sampled_from(["..", ".", "", "in", "file", "%2e%2e", "%2f", "%00", "%5c", "~", "link"]), max_size=8))
@settings(max_examples=300)
def test_no_path_leads_out(tmp_path_factory, names):
    directory = tmp_path_factory.getbasetemp() / "tree"
    if not directory.exists():
        write(directory, "file", b"outside")
        write(directory, "root/in/file", b"inside")
        (directory / "root" / "link").symlink_to("..")
    answer = Site(f"/={directory}/root").ask("/" + "/".join(names))
    assert answer.is_the_applications or answer.body == b"inside"


@given(st.text(alphabet="./%0125efcab\\ü\x01~", max_size=20))
def test_any_path_is_answered(tmp_path_factory, text):
    directory = tmp_path_factory.getbasetemp()
    target = "/static/" + "".join(each if "!" <= each <= "~" else "%00" for each in text)
    assert Site(f"/static={directory}").ask(target).status in (200, 301, 404)


def test_the_longest_prefix_counts(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / name, "file", name.encode())
    write(tmp_path / "a", "b/only", b"hidden by the other directory")
    site = Site(f"/={tmp_path}/a", f"/b={tmp_path}/b", f"/b/c%C3%BC/={tmp_path}/c")
    assert [site.ask(path).body for path in ("/file", "/b/file", "/b/c%C3%BC/file")] == [b"a", b"b", b"c"]
    assert site.ask("/b/only").is_the_applications
    assert site.ask("/bb/file").is_the_applications


# Directories


def test_a_directory_has_its_index(site):
    answer = site.ask("/static/docs/")
    assert (answer.status, answer.fields["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/static/docs", "docs/"),
        ("/static/docs?a=1&b=//evil", "docs/?a=1&b=//evil"),
        ("/static", "static/"),
        ("/static/with%20space", "with%20space/"),
        ("/static/a:b", "a%3Ab/"),
        ("/static/javascript:alert(1)", "javascript%3Aalert%281%29/"),
        ("http://elsewhere/static/docs", "docs/"),
    ],
)
def test_a_directory_is_redirected_to_its_slash_and_nowhere_else(tmp_path, target, location):
    for name in (".", "docs", "with space", "a:b", "javascript:alert(1)"):
        write(tmp_path, f"{name}/index.html")
    answer = Site(f"/static={tmp_path}").ask(target)
    assert (answer.status, answer.fields["location"]) == (301, location)


@pytest.mark.parametrize("target", ["//evil.example", "//evil.example/..", "/%2Fevil.example", "/\\evil.example"])
def test_no_redirect_leads_to_another_host(tmp_path, target):
    write(tmp_path, "evil.example/index.html")
    write(tmp_path, "\\evil.example/index.html")
    assert Site(f"/={tmp_path}").ask(target).is_the_applications


# Conditions and ranges


def test_a_client_that_has_the_file_is_answered_briefly(site):
    first = site.ask("/static/app.js")
    for fields in ({"if_none_match": first.fields["etag"]}, {"if_modified_since": first.fields["last-modified"]}):
        again = site.ask("/static/app.js", **fields)
        assert (again.status, again.body) == (304, b"")
        assert set(again.fields) == {"date", "server", "etag", "cache-control", "vary"}
    assert site.ask("/static/app.js", method="HEAD", if_none_match="*").status == 304


def test_another_time_or_size_is_another_file(tmp_path):
    site, tags = Site(f"/={tmp_path}"), set()
    for content, moment in ((b"one", OLD), (b"one", OLD + 1), (b"three", OLD + 1)):
        write(tmp_path, "file", content, moment=moment)
        tags.add(site.ask("/file").fields["etag"])
    assert len(tags) == 3


def test_what_was_changed_just_now_may_change_again(tmp_path):
    write(tmp_path, "file", moment=int(time.time()))
    answer = Site(f"/={tmp_path}").ask("/file", range="bytes=0-0", if_range="*")
    assert answer.fields["etag"].startswith('W/"')
    assert Site(f"/={tmp_path}").ask("/file", if_none_match=answer.fields["etag"]).status == 304
    assert Site(f"/={tmp_path}").ask("/file", range="bytes=0-0", if_range=answer.fields["etag"]).status == 200


def test_a_time_to_come_is_not_shown(tmp_path):
    write(tmp_path, "file", moment=int(time.time()) + 100_000)
    answer = Site(f"/={tmp_path}").ask("/file")
    assert parse_date(answer.fields["last-modified"]) <= time.time()
    assert Site(f"/={tmp_path}").ask("/file", if_modified_since=format_date(int(time.time()))).status == 304


def test_a_time_that_archives_make_up_does_not_pass_for_the_files(tmp_path):
    write(tmp_path, "file", b"one", moment=1)
    first = Site(f"/={tmp_path}").ask("/file").fields["etag"]
    (tmp_path / "file").unlink()
    write(tmp_path, "file", b"two", moment=1)
    assert Site(f"/={tmp_path}").ask("/file").fields["etag"] != first


def test_a_change_that_rests_on_another_state_is_refused(site):
    answer = site.ask("/static/app.js", if_match='"other"')
    assert answer.status == 412
    assert site.ask("/static/app.js", if_unmodified_since=format_date(OLD - 1)).status == 412


@pytest.mark.parametrize(("value", "start", "end"), [("0-0", 0, 1), ("10-", 10, 76800), ("-70000", 6800, 76800)])
def test_a_part_of_a_file(site, value, start, end):
    answer = site.ask("/static/large.bin", range=f"bytes={value}")
    assert (answer.status, answer.body) == (206, CONTENT[start:end])
    assert answer.fields["content-range"] == f"bytes {start}-{end - 1}/76800"
    assert answer.fields["content-type"] == "application/octet-stream"
    assert answer.fields["etag"] == site.ask("/static/large.bin").fields["etag"]


def test_several_parts_of_a_file(site):
    answer = site.ask("/static/large.bin", range="bytes=76000-,0-0,1000-1999")
    assert answer.status == 206
    assert "content-range" not in answer.fields
    expected = [(76000, 76800), (0, 1), (1000, 2000)]
    assert parts_of(answer) == [
        (
            {"Content-Type": "application/octet-stream", "Content-Range": f"bytes {start}-{end - 1}/76800"},
            CONTENT[start:end],
        )
        for start, end in expected
    ]


@given(st.lists(st.tuples(st.integers(0, 80_000), st.integers(0, 20_000)), min_size=1, max_size=8))
def test_the_parts_are_what_was_asked_for(tmp_path_factory, asked):
    directory = tmp_path_factory.getbasetemp() / "parts"
    if not directory.exists():
        write(directory, "large.bin", CONTENT)
    answer = Site(f"/={directory}").ask(
        "/large.bin", range="bytes=" + ",".join(f"{start}-{start + more}" for start, more in asked)
    )
    if answer.status == 416:
        assert all(start >= len(CONTENT) for start, _ in asked)
        return
    single = [({"Content-Range": answer.fields.get("content-range")}, answer.body)]
    seen = set()
    for fields, body in single if "content-range" in answer.fields else parts_of(answer):
        start, last = map(int, re.fullmatch(r"bytes (\d+)-(\d+)/76800", fields["Content-Range"]).groups())
        assert body == CONTENT[start : last + 1]
        assert seen.isdisjoint(range(start, last + 1))
        seen.update(range(start, last + 1))
    assert all(seen.issuperset(range(start, min(start + more + 1, len(CONTENT)))) for start, more in asked)


def test_parts_that_overlap_are_sent_once(site):
    """The Apache killer asks for a thousand parts that overlap, so that a small request makes a huge answer."""
    answer = site.ask("/static/large.bin", range="bytes=0-," + ",".join(f"{n}-" for n in range(60)))
    assert (answer.status, answer.body) == (206, CONTENT)
    answer = site.ask("/static/large.bin", range="bytes=0-," + ",".join(f"5-{n}" for n in range(6, 1400)))
    assert (answer.status, answer.body) == (200, CONTENT)


def test_a_part_that_is_not_there(site):
    answer = site.ask("/static/large.bin", range="bytes=76800-")
    assert (answer.status, answer.fields["content-range"]) == (416, "bytes */76800")
    assert site.ask("/static/empty.css", range="bytes=0-").status == 416


def test_a_range_of_another_state_gets_the_whole_file(site):
    etag = site.ask("/static/large.bin").fields["etag"]
    assert site.ask("/static/large.bin", range="bytes=1-", if_range=etag).status == 206
    assert site.ask("/static/large.bin", range="bytes=1-", if_range=format_date(OLD)).status == 206
    assert site.ask("/static/large.bin", range="bytes=1-", if_range='"other"').body == CONTENT
    assert site.ask("/static/large.bin", range="bytes=1-", if_none_match=etag).status == 304
    assert site.ask("/static/large.bin", range="lines=1-").body == CONTENT


# Siblings


@pytest.fixture
def packed(tmp_path: Path) -> Site:
    for ending in ("", ".br", ".zst", ".gz"):
        write(tmp_path, f"app.js{ending}", f"as{ending}".encode())
    write(tmp_path, "only.css", b"as")
    write(tmp_path, "only.css.gz", b"as.gz")
    write(tmp_path, "photo.png", b"as")
    write(tmp_path, "photo.png.gz", b"never")
    (tmp_path / "odd.css").write_bytes(b"as")
    (tmp_path / "odd.css.br").mkdir()
    write(tmp_path, "lonely.css.br", b"without a file")
    return Site(f"/={tmp_path}")


@pytest.mark.parametrize(
    ("path", "accepted", "coding"),
    [
        ("/app.js", BROWSER, "br"),
        ("/app.js", "gzip, zstd", "zstd"),
        ("/app.js", "gzip", "gzip"),
        ("/app.js", "br;q=0.1, gzip;q=0.2", "gzip"),
        ("/app.js", "br;q=0, *;q=0.1", "zstd"),
        ("/app.js", "identity", ""),
        ("/app.js", "", ""),
        ("/only.css", BROWSER, "gzip"),
        ("/only.css", "br", ""),
        ("/odd.css", "br", ""),
    ],
)
def test_the_sibling_that_the_client_likes_best(packed, path, accepted, coding):
    answer = packed.ask(path, accept_encoding=accepted)
    ending = {"br": ".br", "zstd": ".zst", "gzip": ".gz", "": ""}[coding]
    assert (answer.status, answer.body) == (200, f"as{ending}".encode())
    assert answer.fields.get("content-encoding", "") == coding
    assert answer.fields["vary"] == "Accept-Encoding"
    plain = packed.ask(path)
    assert answer.fields["content-type"] == plain.fields["content-type"]
    assert (answer.fields["etag"] == plain.fields["etag"]) == (coding == "")


def test_each_form_has_conditions_and_ranges_of_its_own(packed):
    tag = packed.ask("/app.js", accept_encoding="br").fields["etag"]
    assert packed.ask("/app.js", accept_encoding="br", if_none_match=tag).status == 304
    assert packed.ask("/app.js", accept_encoding="br", if_none_match=tag).fields["vary"] == "Accept-Encoding"
    assert packed.ask("/app.js", if_none_match=tag).status == 200
    part = packed.ask("/app.js", accept_encoding="br", range="bytes=2-", if_range=tag)
    assert (part.status, part.body, part.fields["content-encoding"]) == (206, b".br", "br")


def test_a_client_that_excludes_each_form_gets_none(packed):
    for path, accepted in (("/only.css", "br, identity;q=0"), ("/photo.png", "identity;q=0, gzip")):
        answer = packed.ask(path, accept_encoding=accepted)
        assert (answer.status, answer.fields["vary"]) == (406, "Accept-Encoding, Accept")


def test_what_is_compressed_already_has_no_siblings(packed):
    answer = packed.ask("/photo.png", accept_encoding=BROWSER)
    assert answer.body == b"as"
    assert "vary" not in answer.fields


def test_a_sibling_alone_is_not_the_file(packed):
    assert packed.ask("/lonely.css", accept_encoding=BROWSER).is_the_applications
    direct = packed.ask("/lonely.css.br", accept_encoding=BROWSER)
    assert (direct.body, "content-encoding" in direct.fields) == (b"without a file", False)


# Cache-Control and types


@pytest.mark.parametrize(
    ("name", "immutable"),
    [
        ("app.3f9a2b1c.js", True),
        ("app.55e7cbb9ba48.css", True),
        ("index-0a1b2c3d4e5f.min.js", True),
        ("app.3f9a2b1c.js.map", True),
        ("app.js", False),
        ("report-20261127.pdf", False),  # a date
        ("the.deadbeef.js", False),  # a word
        ("app.3f9a2b1.js", False),
        ("app.3f9a2b1c", False),
        ("3f9a2b1c/app.js", False),
    ],
)
def test_a_hash_in_the_name_makes_a_file_immutable(tmp_path, name, immutable):
    write(tmp_path, name)
    value = Site(f"/={tmp_path}").ask(f"/{name}").fields["cache-control"]
    assert value == ("public, max-age=31536000, immutable" if immutable else "no-cache")


def test_a_refusal_is_not_kept_for_a_year(tmp_path):
    write(tmp_path, "app.3f9a2b1c.js")
    for fields in ({"range": "bytes=100-"}, {"if_match": '"other"'}, {"accept_encoding": "identity;q=0"}):
        answer = Site(f"/={tmp_path}").ask("/app.3f9a2b1c.js", **fields)
        assert answer.status in (406, 412, 416)
        assert "cache-control" not in answer.fields
        assert answer.fields["vary"] == "Accept-Encoding, Accept"


def test_a_refusal_is_in_the_type_that_the_client_prefers(site):
    kinds = {"text/html": "text/html; charset=utf-8", "application/json": "application/problem+json"}
    for accept, kind in kinds.items():
        answer = site.ask("/static/app.js", method="POST", accept=accept)
        assert (answer.status, answer.fields["content-type"]) == (405, kind)
        assert b"it can be read, and nothing else" in answer.body


def test_a_refusal_may_have_a_page_of_the_operators(tmp_path):
    write(tmp_path, "site/app.js")
    write(tmp_path, "pages/405.html", b"<h1>Not so</h1>")
    pages = str(tmp_path / "pages")
    with serving(application, static=f"/={tmp_path}/site", error_pages=pages) as server, Client(server) as client:
        for _ in range(2):  # and the connection goes on
            client.send(b"POST /app.js HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nAccept: text/html\r\n\r\n")
            status, fields, body = client.response()
            assert (status, fields["allow"], body) == (405, "GET, HEAD, OPTIONS", b"<h1>Not so</h1>")


def test_what_is_cached_can_be_set(tmp_path):
    write(tmp_path, "assets/index-DiwrgTda.js")
    write(tmp_path, "other.3f9a2b1c.js")
    site = Site(f"/={tmp_path}", static_max_age="10m", static_immutable="^/assets/")
    assert site.ask("/assets/index-DiwrgTda.js").fields["cache-control"] == "public, max-age=31536000, immutable"
    assert site.ask("/other.3f9a2b1c.js").fields["cache-control"] == "public, max-age=600"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.HTML", "text/html; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.wasm", "application/wasm"),
        ("a.svg", "image/svg+xml"),
        ("a.woff2", "font/woff2"),
        ("a.avif", "image/avif"),
        ("a.tar.gz", "application/gzip"),
        ("a.unknown", "application/octet-stream"),
        ("html", "application/octet-stream"),
        ("gr%C3%BCn.txt", "text/plain; charset=utf-8"),
    ],
)
def test_the_type_of_a_file_is_the_same_on_every_machine(tmp_path, name, kind):
    write(tmp_path, name.replace("%C3%BC", "ü"))
    assert Site(f"/={tmp_path}").ask(f"/{name}").fields["content-type"] == kind


# What is there and cannot be read


def test_a_file_that_may_not_be_read_is_said_to_be_there(tmp_path, caplog, monkeypatch):
    write(tmp_path, "secret")
    monkeypatch.setattr(os, "open", _refusing(os.open, PermissionError(13, "Permission denied")))
    assert Site(f"/={tmp_path}").ask("/secret").status == 403
    assert "let the server's user read it" in caplog.text


def test_without_descriptors_the_client_is_asked_to_come_again(tmp_path, monkeypatch):
    write(tmp_path, "file")
    monkeypatch.setattr(os, "open", _refusing(os.open, OSError(24, "Too many open files")))
    answer = Site(f"/={tmp_path}").ask("/file")
    assert (answer.status, answer.fields["retry-after"]) == (503, "1")


def test_another_error_is_the_servers(tmp_path, monkeypatch):
    write(tmp_path, "file")
    monkeypatch.setattr(os, "open", _refusing(os.open, OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        Site(f"/={tmp_path}").ask("/file")


def _refusing(original, error):
    def refuse(path, flags, *args, dir_fd=None):
        if isinstance(path, bytes):
            raise error
        return original(path, flags, *args)

    return refuse


def test_a_directory_that_is_replaced_is_seen_at_once(tmp_path):
    """As deployments do it: a link is swapped."""
    for version in ("1", "2"):
        write(tmp_path, f"{version}/file", version.encode())
    (tmp_path / "current").symlink_to("1")
    site = Site(f"/={tmp_path}/current")
    assert site.ask("/file").body == b"1"
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").rename(tmp_path / "current")
    assert site.ask("/file").body == b"2"
    (tmp_path / "current").unlink()
    assert site.ask("/file").is_the_applications


def test_a_thousand_files(tmp_path):
    contents = {f"{n % 10}/{n}.txt": hashlib.sha256(str(n).encode()).digest() * (n % 7) for n in range(1000)}
    for name, content in contents.items():
        write(tmp_path, name, content)
    site = Site(f"/files={tmp_path}")
    assert all(site.ask(f"/files/{name}").body == content for name, content in contents.items())


def test_without_a_directory_nothing_stands_in_front():
    assert Site("none").application is application
