"""A program as a typed user writes it: test_typing.py has it checked, and runs it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_type
from wsgiref.types import StartResponse, WSGIEnvironment

import greenserve
from greenserve import websocket
from greenserve.green import socket


def length(word: str, factor: int = 1) -> int:
    greenserve.sleep(0)
    return len(word) * factor


def green_threads() -> None:
    thread = greenserve.spawn(length, "word", factor=2)
    assert_type(thread, greenserve.GreenThread[int])
    assert_type(thread.wait(timeout=1.0), int)
    assert_type(greenserve.spawn_after(0.01, length, "word").wait(), int)
    assert_type(greenserve.joinall([thread]), list[greenserve.GreenThread[int]])
    assert_type(greenserve.with_timeout(1, length, "word"), int)
    with greenserve.TaskGroup() as group:
        assert_type(group.spawn(length, "word"), greenserve.GreenThread[int])
    with greenserve.Timeout(1, False):
        greenserve.sleep(0)


def queues_and_events() -> None:
    queue: greenserve.Queue[str] = greenserve.Queue(10)
    queue.put("word")
    assert_type(queue.get(timeout=1), str)
    event: greenserve.Event[int] = greenserve.Event()
    event.send(1)
    assert_type(event.wait(), int | None)
    result: greenserve.AsyncResult[int] = greenserve.AsyncResult()
    greenserve.spawn(length, "word").link(result)
    assert_type(result.get(), int)
    with greenserve.Lock() as locked:
        assert_type(locked, bool)
    assert_type(greenserve.Flag().is_set(), bool)


def pools() -> None:
    pool = greenserve.GreenPool(10)
    assert_type(pool.spawn(length, "word").wait(), int)
    assert_type(list(pool.imap(length, ["a", "bb"])), list[int])
    resources: greenserve.Pool[list[int]] = greenserve.Pool(create=list)
    with resources.item(timeout=1) as item:
        assert_type(item, list[int])
    assert_type(greenserve.ThreadPool(1).execute(length, "word"), int)
    assert_type(greenserve.tpool.execute(length, "word", factor=3), int)


def echo(connection: socket.socket, address: object) -> None:
    connection.sendall(connection.recv(100))


def network() -> None:
    with greenserve.StreamServer(("127.0.0.1", 0), echo) as server:
        client = greenserve.connect(server.address, timeout=5)
        client.sendall(b"hello")
        assert_type(client.recv(100), bytes)
        client.close()
    greenserve.listen(("127.0.0.1", 0)).close()


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def chat(ws: websocket.WebSocket) -> None:
    for message in ws:
        assert_type(message, str | bytes)
        ws.send(message)


def serving() -> None:
    chatting = websocket.handler(chat)
    with greenserve.Server(app, bind="127.0.0.1:0") as server:
        assert_type(server.url, str)
    assert callable(chatting)


if __name__ == "__main__":
    greenserve.monkey_patch()
    for example in (green_threads, queues_and_events, pools, network, serving):
        example()
    print("typed")
