"""The demo's chat in a real browser: two pages that talk to each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.test_demo_browser import CONTRAST, By, Chrome, Page, browser

__all__ = ["browser"]  # the fixture


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("demo") as server:
        yield server
    assert server.returncode == 0
    assert "Traceback" not in server.output


class ChatPage(Page):
    """A page of its own tab; every use of it begins with `show`."""

    def __init__(self, browser: Chrome, url: str) -> None:
        browser.switch_to.new_window("tab")
        self.tab = browser.current_window_handle
        super().__init__(browser, url)

    def show(self) -> ChatPage:
        self.browser.switch_to.window(self.tab)
        return self

    def close(self) -> None:
        self.show()
        self.browser.close()

    def come_in(self, name: str, room: str = "lobby") -> None:
        self.show()
        self.fill("chat-name", name)
        self.browser.execute_script(
            "document.querySelector(`input[name=room][value=${arguments[0]}]`).checked = true", room
        )
        self.click("chat-enter")
        self.until(lambda: self.text("chat-result") == f"You are in the {room}.", f"{name} to be in")

    def say(self, text: str) -> None:
        self.show()
        self.fill("chat-text", text)
        self.click("chat-send")

    def fill(self, name: str, text: str) -> None:
        self.browser.execute_script("arguments[0].value = arguments[1]", self.element(name), text)

    def items(self, name: str) -> list[str]:
        """The texts of a list's items, each in one line."""
        self.show()
        script = "return [...document.getElementById(arguments[0]).children].map((item) => item.innerText)"
        return [text.replace("\n", ": ") for text in self.browser.execute_script(script, name)]

    def until_items(self, name: str, *expected: str) -> None:
        self.until(lambda: self.items(name) == list(expected), f"{name} to be {expected}; it is {self.items(name)}")


@pytest.fixture
def pages(browser: Chrome, server: ServerProcess) -> Iterator[tuple[ChatPage, ChatPage]]:
    first = browser.current_window_handle
    pages = ChatPage(browser, server.url), ChatPage(browser, server.url)
    yield pages
    for page in pages:
        page.show()
        assert browser.get_log("browser") == []
        page.close()
    browser.switch_to.window(first)


def test_two_pages_talk_and_see_each_other(pages: tuple[ChatPage, ChatPage]) -> None:
    ada, grace = pages
    ada.come_in("Ada")
    ada.until_items("present", "Ada (you)")
    grace.come_in("Grace")
    ada.until_items("present", "Ada (you)", "Grace")
    grace.until_items("present", "Ada", "Grace (you)")
    assert ada.show().text("present-count") == "2"
    ada.say("Hello, Grace")
    grace.until_items("said", "Ada: Hello, Grace")
    grace.say("<b>Hello</b> & bienvenue, Ada")
    for page in pages:
        page.until_items("said", "Ada: Hello, Grace", "Grace: <b>Hello</b> & bienvenue, Ada")
    assert ada.show().browser.execute_script("return document.querySelectorAll('#said b').length") == 2
    assert [item.text for item in ada.browser.find_elements(By.CSS_SELECTOR, "#said .mine b")] == ["Ada"]


def test_rooms_are_apart_and_leaving_one_is_seen(pages: tuple[ChatPage, ChatPage]) -> None:
    ada, grace = pages
    ada.come_in("Ada")
    grace.come_in("Grace")
    ada.until_items("present", "Ada (you)", "Grace")
    grace.come_in("Grace", "kitchen")
    ada.until_items("present", "Ada (you)")
    grace.until_items("present", "Grace (you)")
    ada.say("anybody?")
    ada.until_items("said", "Ada: anybody?")
    assert grace.items("said") == []
    grace.come_in("Rear Admiral", "lobby")
    ada.until_items("present", "Ada (you)", "Rear Admiral")


def test_who_closes_the_page_is_gone(pages: tuple[ChatPage, ChatPage], browser: Chrome, server: ServerProcess) -> None:
    ada, _ = pages
    ada.come_in("Ada", "garden")
    passing = ChatPage(browser, server.url)
    passing.come_in("Alan", "garden")
    ada.until_items("present", "Ada (you)", "Alan")
    passing.close()
    ada.until_items("present", "Ada (you)")


def test_who_speaks_too_fast_is_told_so(pages: tuple[ChatPage, ChatPage]) -> None:
    ada, _ = pages
    ada.come_in("Ada")
    for number in range(20):
        ada.say(f"{number}")
    ada.until(lambda: ada.text("chat-result") == "Not so fast, please.", "the refusal")
    assert ada.items("said")[:8] == [f"Ada: {number}" for number in range(8)]


def test_the_chat_finds_back_after_a_restart(browser: Chrome) -> None:
    first = browser.current_window_handle
    with ServerProcess("demo") as server:
        page = ChatPage(browser, server.url)
        page.come_in("Ada")
        address = f"127.0.0.1:{server.port}"
    page.until(lambda: "Connecting again" in page.text("chat-result"), "the loss to be noticed")
    with ServerProcess("demo", bind=(address,)):
        page.until(lambda: page.text("chat-result") == "You are in the lobby.", "the chat to be back")
        page.until_items("present", "Ada (you)")
        page.close()
    browser.switch_to.window(first)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_chat_is_readable_and_fits(
    pages: tuple[ChatPage, ChatPage], scheme: str, width: int, tmp_path: Path
) -> None:
    ada, grace = pages
    for page, name in ((ada, "Ada"), (grace, "Grace")):
        page.come_in(name)
    grace.say("Have you read the note about the Analytical Engine? " * 3)
    ada.say("I wrote it.")
    ada.until(lambda: len(ada.items("said")) == 2, "both messages")
    ada.show().appear(scheme, width, 900)
    for selector in ("#said li", "#said b", "#present li", "#present-title", ".field", "#chat-text", "#chat-result"):
        for element in ada.browser.find_elements(By.CSS_SELECTOR, selector):
            ada.until(
                lambda element=element: ada.browser.execute_script(CONTRAST, element) >= 4.5,
                f"{selector} to be readable",
            )
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert ada.browser.execute_script(overflow) <= 0
    card = ada.browser.find_element(By.CSS_SELECTOR, "[aria-labelledby=chat-title]")
    assert card.screenshot(str(tmp_path / f"chat-{scheme}-{width}.png"))
    ada.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
