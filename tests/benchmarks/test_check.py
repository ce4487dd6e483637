"""The checks before the load, against small servers of the standard library on 127.0.0.1."""

import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.check import WrongAnswer, check
from benchmarks.scenarios import SCENARIOS

HELLO = next(scenario for scenario in SCENARIOS if scenario.name == "hello")


@contextmanager
def answering(status=200, body=b"Hello, World!", protocol="HTTP/1.1"):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            received = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            answer = str(len(received)).encode()
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_a_right_answer_over_a_kept_connection_has_no_notes():
    with answering() as port:
        assert check(port, HELLO) == ()


def test_a_server_that_closes_after_each_answer_is_noted():
    with answering(protocol="HTTP/1.0") as port:
        assert check(port, HELLO) == ("no keep-alive",)


def test_a_wrong_body_is_no_answer():
    with answering(body=b"Hello, Wirld!") as port, pytest.raises(WrongAnswer, match="wrong body: 13 bytes"):
        check(port, HELLO)


def test_a_wrong_status_is_no_answer():
    with answering(status=503) as port, pytest.raises(WrongAnswer, match="status 503"):
        check(port, HELLO)


def test_nobody_listening_is_no_answer():
    with answering() as port:
        pass
    with pytest.raises(WrongAnswer, match="ConnectionRefusedError"):
        check(port, HELLO)


def test_an_upload_is_posted_whole():
    upload = next(scenario for scenario in SCENARIOS if scenario.name == "upload")
    with answering() as port:
        assert check(port, upload) == ()


def test_a_stream_that_arrives_at_once_is_noted():
    stream = replace(HELLO, streams=True)
    with answering() as port:
        assert check(port, stream) == ("collects the whole stream first",)
