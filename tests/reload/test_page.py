"""The page in the place of an application that cannot be loaded."""

from __future__ import annotations

import json
from typing import Any

import pytest

import greenserve
from greenserve.reload.page import TroublePage

DETAILS = 'Traceback:\n  File "views.py", line 1\n    x = "<script>&\x1b[2J"\n'


def ask(page: TroublePage, **environ: Any) -> tuple[str, dict[str, str], str]:
    found: list[Any] = []
    body = page({"REQUEST_METHOD": "GET", **environ}, lambda *head: found.extend(head))
    return found[0], dict(found[1]), b"".join(body).decode()


def test_a_browser_gets_html_in_which_all_is_escaped() -> None:
    status, headers, body = ask(TroublePage("<b>no", DETAILS), HTTP_ACCEPT="text/html,*/*;q=0.8")
    assert status.startswith("500 ")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert "&lt;b&gt;no" in body
    assert "&lt;script&gt;&amp;" in body
    assert body.count("<script>") == 1


def test_curl_gets_text_that_does_not_command_its_terminal() -> None:
    status, headers, body = ask(TroublePage("no such module", DETAILS), HTTP_ACCEPT="*/*")
    assert status.startswith("500 ")
    assert headers["Content-Type"].startswith("text/plain")
    assert body.index("<script>&\\x1b[2J") < body.index("no such module")


def test_a_program_gets_json() -> None:
    _, headers, body = ask(TroublePage("no such module"), HTTP_ACCEPT="application/json")
    assert headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["detail"] == "no such module"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_a_form_was_sent_to_does_not_load_itself_again(method: str) -> None:
    _, _, body = ask(TroublePage("no"), HTTP_ACCEPT="text/html", REQUEST_METHOD=method)
    assert "<script>" not in body


def test_the_pages_own_request_ends_when_the_worker_stops() -> None:
    flag = greenserve.Flag()
    waiting = greenserve.spawn(ask, TroublePage("no"), HTTP_X_GREENSERVE_WAIT="1", **{"greenserve.stopping": flag})
    greenserve.sleep(0)
    assert not waiting.dead
    flag.set()
    assert waiting.wait()[0].startswith("204 ")
