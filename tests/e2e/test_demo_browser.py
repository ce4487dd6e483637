"""The demo in a real browser: headless Chromium, driven by Selenium.

What changes on the page is recorded inside the page, by observers that see every change; polling from outside could
miss the short ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing, require_program
from tests.e2e.server_process import ServerProcess

if find_spec("selenium") is not None:  # `browser` says so where it is not
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService
    from selenium.webdriver.common.by import By
    from selenium.webdriver.remote.webelement import WebElement
    from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 40  # seconds

OBSERVE = """
    window.seen = [];
    const target = document.getElementById(arguments[0]);
    const note = () => window.seen.push([performance.now(), target.textContent, target.childElementCount]);
    new MutationObserver(note).observe(target, {childList: true, characterData: true, subtree: true});
"""

# The contrast of an element's text with the nearest opaque background behind it (WCAG 2.2, §1.4.3).
CONTRAST = """
    const channels = (text) => text.match(/[\\d.]+/g).map(Number);
    const luminance = (colour) => {
        const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = colour.map((c) => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let behind = arguments[0];
    const colour = channels(getComputedStyle(behind).color);
    while (behind && channels(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const both = [luminance(colour), luminance(channels(getComputedStyle(behind).backgroundColor))];
    const [low, high] = both.sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("demo", "--concurrency", "1100") as server:
        yield server
    assert server.returncode == 0
    assert "Traceback" not in server.output


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@contextmanager
def chromium(profile: Path, *arguments: str) -> Iterator[Chrome]:
    """A headless Chromium. profile: an empty directory for it."""
    if find_spec("selenium") is None:
        missing("the package selenium is not installed")
    options = ChromeOptions()
    options.binary_location = require_program("chromium")
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
        "--window-size=1280,900",
        *arguments,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=ChromeService(require_program("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """The demo's page, loaded and live."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        browser.get_log("browser")  # what an earlier page said is not this one's
        browser.get(url + "/")
        self.until(lambda: self.text("state-text") == "Live" and self.text("peak") != "–", "the feed to begin")

    def element(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def text(self, name: str) -> str:
        return self.element(name).text

    def click(self, name: str) -> None:
        # By script: what matters is the page's behaviour, not whether a button has scrolled into view.
        self.browser.execute_script("arguments[0].click()", self.element(name))

    def choose(self, n: int) -> None:
        self.browser.execute_script(
            "const radio = document.querySelector('input[name=n]:checked'); radio.value = arguments[0]", n
        )

    def observe(self, name: str) -> None:
        self.browser.execute_script(OBSERVE, name)

    @property
    def seen(self) -> list[Any]:
        """What the observed element said: [milliseconds, text, children], at each change."""
        return self.browser.execute_script("return window.seen")  # type: ignore[no-any-return]

    def until(self, condition: Callable[[], Any], what: str) -> None:
        WebDriverWait(self.browser, PATIENCE, poll_frequency=0.05).until(lambda _: condition(), f"waited for {what}")

    def number(self, name: str) -> float:
        return float(self.element(name).get_property("value"))  # type: ignore[arg-type]

    def appear(self, scheme: str, width: int, height: int) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.fixture
def page(browser: Chrome, server: ServerProcess) -> Iterator[Page]:
    page = Page(browser, server.url)
    yield page
    assert browser.get_log("browser") == []
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_shows_the_process_that_serves_it(page: Page, server: ServerProcess) -> None:
    assert page.browser.title == "greenserve at work"
    page.until(lambda: f"pid {server.pid}" in page.text("facts"), "the facts")
    page.until(lambda: page.text("uptime") != "–", "the uptime")
    assert page.text("in-flight") == "0"


def test_a_burst_rises_above_a_hundred_in_flight_and_falls_to_none(page: Page) -> None:
    page.choose(200)
    page.observe("in-flight")
    page.click("burst")
    page.until(lambda: "200 requests answered" in page.text("burst-result"), "the end of the burst")
    page.until(lambda: page.text("in-flight") == "0", "no request in flight")
    most = max(int(text.replace(",", "")) for _, text, _ in page.seen)
    assert 100 < most <= 200


def test_a_thousand_requests_are_in_flight_at_once(page: Page) -> None:
    page.choose(1000)
    page.observe("in-flight")
    page.click("burst")
    page.until(lambda: "requests answered" in page.text("burst-result"), "the end of the burst")
    assert "1,000 requests answered" in page.text("burst-result")
    assert max(int(text.replace(",", "")) for _, text, _ in page.seen) > 900


def test_a_request_from_the_browser_itself_is_seen_in_flight(page: Page) -> None:
    page.observe("in-flight")
    page.click("single")
    page.until(lambda: "One request answered" in page.text("burst-result"), "the answer")
    assert "slept 2 s" in page.text("burst-result")
    assert "1" in [text for _, text, _ in page.seen]


def test_the_pieces_of_a_stream_appear_one_by_one(page: Page) -> None:
    page.observe("pieces")
    page.click("stream")
    page.until(lambda: page.text("stream-result") == "Complete.", "the end of the stream")
    counts = [children for _, _, children in page.seen]
    assert counts == sorted(counts)
    assert counts[-1] == 10
    # Nine pauses of 300 ms: had anything held the pieces back, all would have come within a moment.
    first, last = page.seen[counts.index(1)][0], page.seen[-1][0]
    assert last - first > 1350


def test_an_upload_is_seen_from_both_ends_while_it_runs(page: Page) -> None:
    page.observe("received-text")
    page.click("upload")
    page.until(lambda: "bytes in" in page.text("upload-result"), "the end of the upload")
    assert page.text("upload-result").startswith("16,000,000 bytes")
    assert page.text("upload-result").endswith("The SHA-256 of both ends agree.")
    assert page.number("sent") == page.number("received") == 16_000_000
    assert page.text("sent-text") == page.text("received-text") == "16.0 MB · 100 %"
    shares = {text.rpartition("· ")[2] for _, text, _ in page.seen}
    assert len(shares - {"0 %", "100 %"}) >= 3


def test_a_chosen_file_arrives_whole(page: Page, tmp_path: Path) -> None:
    content = hashlib.shake_256(b"demo").digest(3_000_001)
    file = tmp_path / "film.bin"
    file.write_bytes(content)
    page.click("pace")
    page.element("file").send_keys(str(file))
    page.until(lambda: "bytes in" in page.text("upload-result"), "the end of the upload")
    assert page.text("upload-result").startswith("3,000,001 bytes")
    assert "agree" in page.text("upload-result")


def test_the_code_behind_a_card_is_shown_on_demand(page: Page) -> None:
    details = page.browser.find_element(By.CSS_SELECTOR, "details[data-source=slow]")
    page.browser.execute_script("arguments[0].open = true", details)
    page.until(lambda: "time.sleep(seconds)" in details.text, "the code")


def test_a_refusal_is_shown_in_the_servers_words(page: Page) -> None:
    page.choose(5000)
    page.click("burst")
    page.until(lambda: "whole number from 1 to 1000" in page.text("burst-result"), "the refusal")
    assert "wrong" in (page.element("burst-result").get_attribute("class") or "")
    assert page.element("burst").is_enabled()
    (entry,) = page.browser.get_log("browser")  # the browser itself notes every 400
    assert "400 (Bad Request)" in entry["message"]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_and_fits(page: Page, scheme: str, width: int) -> None:
    page.appear(scheme, width, 900)
    background = page.browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    bright = int(background.split("(")[1].split(",")[0]) > 128
    assert bright is (scheme == "light")
    for selector in (
        "h1",
        ".intro p",
        "#in-flight",
        ".tiles dt",
        ".fine",
        "#burst",
        "#single",
        ".choice span",
        "summary",
    ):
        for element in page.browser.find_elements(By.CSS_SELECTOR, selector):
            page.until(
                lambda element=element: page.browser.execute_script(CONTRAST, element) >= 4.5,
                f"{selector} to be readable",
            )
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.browser.execute_script(overflow) <= 0


def test_the_page_finds_back_after_a_restart(browser: Chrome) -> None:
    with ServerProcess("demo") as first:
        page = Page(browser, first.url)
        address = f"127.0.0.1:{first.port}"
    page.until(lambda: page.text("state-text") == "Reconnecting", "the loss to be noticed")
    with ServerProcess("demo", bind=(address,)) as second:
        page.until(lambda: page.text("state-text") == "Live", "the page to be live again")
        page.until(lambda: f"pid {second.pid}" in page.text("facts"), "the facts of the other process")
        browser.get("about:blank")
