"""A Flask application: JSON, a slow upstream, and a response streamed line by line.

pip install flask requests
greenserve flask_app:app
curl http://127.0.0.1:8000/
curl -X POST -H 'Content-Type: application/json' -d '{"text": "water the plants"}' http://127.0.0.1:8000/notes
curl -N http://127.0.0.1:8000/countdown
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

import requests
from flask import Flask, Response, abort, jsonify, request, url_for

app = Flask(__name__)
notes: deque[str] = deque(maxlen=100)


@app.get("/")
def index() -> Response:
    return jsonify(hello="Flask", notes=url_for("list_notes", _external=True))


@app.get("/notes")
def list_notes() -> Response:
    return jsonify(list(notes))


@app.post("/notes")
def add_note() -> tuple[Response, int]:
    note = request.get_json()
    if not isinstance(note, dict) or not isinstance(note.get("text"), str):
        abort(400, 'send {"text": "..."}')
    notes.append(note["text"][:1000])
    return jsonify(count=len(notes)), 201


@app.get("/slow")
def slow() -> Response:
    time.sleep(1)
    return jsonify(slept=1)


@app.get("/gather")
def gather() -> Response:
    """Asks this very server, as it would ask any other: while `requests` waits, the server answers."""
    begin = time.monotonic()
    # The port is the server's own. url_for(_external=True) would follow the Host header: wherever a client likes.
    answer = requests.get(f"http://127.0.0.1:{request.environ['SERVER_PORT']}/slow", timeout=10).json()
    return jsonify(answer=answer, seconds=round(time.monotonic() - begin, 2))


@app.get("/countdown")
def countdown() -> Response:
    def lines() -> Iterator[str]:
        for number in range(3, 0, -1):
            yield f"{number}\n"
            time.sleep(0.2)
        yield "go\n"

    return Response(lines(), mimetype="text/plain")
