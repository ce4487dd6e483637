"""Static files as a user has them: the installed command, and curl."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import wave
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import run_command
from tests.e2e.test_demo_browser import chromium
from tests.static.support import write

if find_spec("selenium") is not None:
    from selenium.webdriver.support.ui import WebDriverWait

GIB = 1 << 30


def curl(*arguments: str | Path) -> bytes:
    """What curl prints; it must succeed."""
    command = [require_program("curl"), "--silent", "--show-error", "--fail", "--max-time", "50", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_a_thousand_files_by_one_curl(start_server: StartServer, tmp_path: Path) -> None:
    contents = {f"{n}.css": hashlib.sha256(str(n).encode()).hexdigest().encode() * (n % 50) for n in range(1000)}
    for name, content in contents.items():
        write(tmp_path / "site", name, content)
    server = start_server("examples.hello_wsgi:app", "--static", f"/static={tmp_path}/site")
    (tmp_path / "got").mkdir()
    curl("--output", tmp_path / "got" / "#1.css", server.url + "/static/[0-999].css")
    assert {path.name: path.read_bytes() for path in (tmp_path / "got").iterdir()} == contents


def test_the_end_of_a_download_of_4_gib_is_resumed(start_server: StartServer, tmp_path: Path) -> None:
    end = b"the end of it"
    with open(tmp_path / "image.iso", "wb") as file:
        file.truncate(4 * GIB)
        file.seek(4 * GIB)
        file.write(end)
    server = start_server("examples.hello_wsgi:app", "--static", f"/={tmp_path}", "--access-log", "-")
    got = tmp_path / "got.iso"
    with open(got, "wb") as file:
        file.truncate(4 * GIB - 1000)
    curl("--continue-at", "-", "--output", got, server.url + "/image.iso")
    assert got.stat().st_size == 4 * GIB + len(end)
    with open(got, "rb") as file:
        file.seek(4 * GIB - 1000)
        assert file.read() == bytes(1000) + end
    server.wait_for_line(r'"GET /image.iso HTTP/1.1" 206 1013 ')


def test_curl_has_what_is_compressed_and_asks_before_it_loads_again(start_server: StartServer, tmp_path: Path) -> None:
    packed = gzip.compress(b"let a = 1\n")
    write(tmp_path / "site", "app.js", b"let a = 1\n")
    write(tmp_path / "site", "app.js.gz", packed)
    server = start_server("examples.hello_wsgi:app", "--static", f"/static={tmp_path}/site", "--access-log", "-")
    url, etag = server.url + "/static/app.js", tmp_path / "etag"
    assert curl("--compressed", "--etag-save", etag, url) == b"let a = 1\n"
    server.wait_for_line(f'"GET /static/app.js HTTP/1.1" 200 {len(packed)} ')
    assert curl("--compressed", "--etag-compare", etag, url) == b""
    server.wait_for_line(r'"GET /static/app.js HTTP/1.1" 304 - ')


MAIN = b"""
    const wasm = WebAssembly.compileStreaming(fetch("empty.wasm"));
    const sound = new Promise((done, fail) => {
        const audio = new Audio("sound.wav");
        audio.onerror = fail;
        audio.onseeked = done;
        audio.onloadedmetadata = () => { audio.currentTime = 20; };
    });
    const colour = getComputedStyle(document.body).color;
    Promise.all([wasm, sound]).then(() => { document.title = colour; }, (error) => { document.title = String(error); });
"""


def test_a_browser_runs_a_site_of_scripts_styles_and_sounds(start_server: StartServer, tmp_path: Path) -> None:
    """A module, WebAssembly and a style sheet are refused where their types are wrong; sounds are sought by ranges."""
    site = tmp_path / "site"
    write(
        site,
        "docs/index.html",
        b'<link rel="stylesheet" href="a.css"><body><script type="module" src="main.js"></script>',
    )
    write(site, "docs/main.js", b"the wrong one")
    write(site, "docs/main.js.gz", gzip.compress(MAIN))
    write(site, "docs/a.css", b"body { color: rgb(1, 2, 3) }")
    write(site, "docs/empty.wasm", bytes.fromhex("0061736d01000000"))
    with wave.open(str(site / "docs" / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 44100, 0, "NONE", ""))
        sound.writeframes(bytes(2 * 44100 * 30))
    server = start_server("examples.hello_wsgi:app", "--static", f"/={site}", "--access-log", "-")
    with chromium(tmp_path / "profile") as browser:
        browser.get(server.url + "/docs")
        WebDriverWait(browser, 40).until(lambda browser: browser.title)
        assert browser.title == "rgb(1, 2, 3)"
        assert browser.current_url == server.url + "/docs/"
    server.wait_for_line(r'"GET /docs/sound.wav HTTP/1.1" 206 ')


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("static=public", "the prefix 'static' does not begin with a slash; write /static=public"),
        ("/static", "'/static' has no `=` between prefix and directory; write, for example, /static=public"),
        ("/static=", "the directory of /static is missing or not a path; write /static=DIR"),
        ("/a//b=public", "is not a path of names between single slashes"),
        ("/static=missing", "No such file or directory; create it, or write /static=DIR with another one"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_fix(value: str, said: str) -> None:
    done = run_command("examples.hello_wsgi:app", "--bind", "127.0.0.1:0", "--static", value)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
