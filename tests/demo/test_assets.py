"""The page: its files, their validators, and that nothing comes from elsewhere."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from greenserve.demo.app import ROUTES
from tests.demo.support import call

PAGE = resources.files("greenserve.demo").joinpath("page")
FILES = sorted(entry.name for entry in PAGE.iterdir())
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def path_of(name: str) -> str:
    return "/" if name == "index.html" else f"/{name}"


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_with_its_type_and_length(name: str) -> None:
    answer = call("GET", path_of(name))
    assert answer.status == 200
    assert answer.headers["Content-Type"].split(";")[0] == TYPES[name.rpartition(".")[2]]
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.body == PAGE.joinpath(name).read_bytes()


@pytest.mark.parametrize("condition", ["{tag}", "W/{tag}", '"other", {tag}', "*"])
def test_a_client_that_has_the_file_is_told_so(condition: str) -> None:
    tag = call("GET", "/demo.css").headers["ETag"]
    answer = call("GET", "/demo.css", HTTP_IF_NONE_MATCH=condition.format(tag=tag))
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == tag


def test_a_client_with_another_version_gets_the_file() -> None:
    assert call("GET", "/demo.css", HTTP_IF_NONE_MATCH='"other"').status == 200


def test_head_tells_the_same_headers() -> None:
    assert call("HEAD", "/").headers == call("GET", "/").headers


@pytest.mark.parametrize("name", FILES)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    text = PAGE.joinpath(name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)


def test_whatever_the_page_asks_for_has_a_route() -> None:
    html, script = (PAGE.joinpath(name).read_text("utf-8") for name in ("index.html", "demo.js"))
    asked = set(re.findall(r'(?:src|href)="(?!#)([\w./]+)"', html))
    asked |= set(re.findall(r'(?:fetch|lines|send|EventSource)\(["`]([\w/]+)', script))
    asked |= set(re.findall(r' from "\./([\w.]+)"', script))
    assert {"demo.css", "demo.js", "chart.js", "logo.svg", "live", "burst", "stream", "upload", "facts"} <= asked
    assert {f"/{path}" for path in asked} <= set(ROUTES)


def test_the_page_carries_no_inline_code_that_its_own_policy_would_refuse() -> None:
    html = PAGE.joinpath("index.html").read_text("utf-8")
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|<script(?![^>]*\ssrc=)", html)


@pytest.mark.parametrize("name", ["slow", "stream", "upload"])
def test_the_code_shown_is_the_code_that_runs(name: str) -> None:
    answer = call("GET", f"/source?of={name}")
    assert answer.status == 200
    assert answer.text.startswith("def ")


def test_other_code_is_not_shown() -> None:
    answer = call("GET", "/source?of=os.system")
    assert answer.status == 404
    assert "slow, stream, upload" in answer.text
