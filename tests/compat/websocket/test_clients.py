"""Other clients talk to us: aiohttp, picows, and a page in Chromium."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

import pytest

from tests.conftest import missing, require_program

from .support import ended_well, started, websocket_url

MESSAGES = ["grüße", "", b"\x00\xff", "x" * 70_000, b"y" * 200_000]

PAGE = """
const done = arguments[arguments.length - 1];
const ws = new WebSocket(location.href.replace("http", "ws") + "echo");
const got = [];
ws.binaryType = "arraybuffer";
ws.onopen = () => { ws.send("gr\\u00fc\\u00dfe"); ws.send(new Uint8Array([0, 255])); ws.send("x".repeat(100000)); };
ws.onmessage = event => {
  got.push(typeof event.data === "string" ? event.data.slice(0, 10) : Array.from(new Uint8Array(event.data)));
  if (got.length === 3) ws.close(4000, "bye");
};
ws.onerror = () => done("error");
ws.onclose = event => done([got, event.code, event.wasClean, ws.extensions]);
"""


@pytest.fixture(scope="module")
def server():
    with started("own_app") as server:
        yield server
    ended_well(server)


@pytest.mark.parametrize("compress", [0, 15])
def test_aiohttp_talks_to_us(server, compress):
    import aiohttp

    async def talk():
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(websocket_url(server, "/echo"), compress=compress, max_msg_size=0) as ws,
        ):
            got = []
            for message in MESSAGES:
                await (ws.send_str(message) if isinstance(message, str) else ws.send_bytes(message))
                got.append((await ws.receive(timeout=10)).data)
            await ws.close(code=4000)
            return got, ws.close_code

    assert asyncio.run(talk()) == (MESSAGES, 4000)


def test_picows_talks_to_us(server):
    import picows

    async def talk():
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        got: list[bytes] = []

        class Listener(picows.WSListener):
            def on_ws_connected(self, transport):
                for message in MESSAGES:
                    if isinstance(message, str):
                        transport.send(picows.WSMsgType.TEXT, message.encode())
                    else:
                        transport.send(picows.WSMsgType.BINARY, message)

            def on_ws_frame(self, transport, frame):
                if frame.msg_type is picows.WSMsgType.CLOSE or len(got) == len(MESSAGES):
                    return  # the answer to ours, which may come before this end has let go
                got.append(frame.get_payload_as_bytes())
                if len(got) == len(MESSAGES):
                    transport.send_close(picows.WSCloseCode.OK, b"")
                    over.set_result(None)

        transport, _ = await picows.ws_connect(Listener, websocket_url(server, "/echo"))
        await asyncio.wait_for(over, 10)
        transport.disconnect()
        await transport.wait_disconnected()
        return got

    assert asyncio.run(talk()) == [each.encode() if isinstance(each, str) else each for each in MESSAGES]


def test_a_page_in_chromium_talks_to_us(server):
    if find_spec("selenium") is None:
        missing("selenium is not installed")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = require_program("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser = Chrome(options=options, service=ChromeService(require_program("chromedriver")))
    try:
        browser.set_script_timeout(30)
        browser.get(server.url + "/")
        told = browser.execute_async_script(PAGE)
    finally:
        browser.quit()
    assert told == [["grüße", [0, 255], "x" * 10], 4000, True, told[3]]
    assert told[3].startswith("permessage-deflate")
