"""Modules of the standard library below `greenserve.green` that have no file there."""

from __future__ import annotations

import http.client
import importlib
import sys

import pytest

import greenserve
from greenserve.green import socket
from tests.patching.programs import run

NAMES = ("http.client", "http.server", "urllib.request", "urllib.parse", "xmlrpc.client", "socketserver", "smtplib")


@pytest.mark.parametrize("name", NAMES)
def test_every_way_to_import_gives_the_same_module(name: str) -> None:
    package, _, child = name.rpartition(".")
    module = importlib.import_module(f"greenserve.green.{name}")
    assert module is greenserve.import_patched(name) is sys.modules[f"greenserve.green.{name}"]
    assert module is not importlib.import_module(name)
    parent = importlib.import_module(f"greenserve.green.{package}" if package else "greenserve.green")
    assert getattr(parent, child) is module
    assert module.__spec__ is not None
    assert module.__spec__.name == name  # by which its own relative imports work


def test_what_is_imported_is_green_and_the_real_module_is_not() -> None:
    from greenserve.green.http.client import HTTPConnection
    from greenserve.green.http.client import socket as theirs

    assert HTTPConnection is not http.client.HTTPConnection
    assert theirs.socket is socket.socket


def test_what_the_standard_library_does_not_have_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"greenserve\.green\.http\.clients"):
        importlib.import_module("greenserve.green.http.clients")
    with pytest.raises(ModuleNotFoundError, match=r"greenserve\.green\.json"):
        importlib.import_module("greenserve.green.json")


def test_modules_are_imported_afresh_without_patching():
    run("""
        import threading, urllib.request
        from greenserve.green import socketserver, threading as green_threading
        import greenserve
        from greenserve.patching.import_patched import import_patched
        request = import_patched("urllib.request")
        assert request is not urllib.request and import_patched("urllib.request") is request
        assert green_threading.Thread is not threading.Thread
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.recv(1000)
                self.request.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhello")
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            thread = green_threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            url = "http://localhost:%d/" % server.server_address[1]
            assert request.urlopen(url).read() == b"hello"
            assert import_patched("requests").get(url).text == "hello"
            server.shutdown()
            thread.join()
        assert not greenserve.is_monkey_patched("socket")
        assert threading.active_count() == 1
    """)
