"""Request bodies on a real server: how they are read, and that nobody's body keeps the others waiting."""

from __future__ import annotations

from greenserve.hub.hub import current_hub
from tests.server.live import Client, serving


def test_an_application_that_reads_a_body_line_by_line_gives_way():
    def application(environ, start_response):
        hub = current_hub()
        body = environ["wsgi.input"]
        lines, rounds = [body.readline()], hub.rounds
        for line in body:
            sum(range(1000))  # it does something with each line
            lines.append(line)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d lines, %b" % (len(lines), b"others ran" if hub.rounds > rounds else b"nobody else ran")]

    with serving(application) as server, Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000\r\n\r\n" + b"a\n" * 4000)
        assert client.response()[2] == b"4000 lines, others ran"
