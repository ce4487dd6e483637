"""Flask-SocketIO on gevent, as its documentation says. python rooms_socketio.py PORT"""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
import time  # noqa: E402

from flask import Flask, request  # noqa: E402
from flask_socketio import SocketIO, join_room  # noqa: E402

app = Flask(__name__)
# No ping in the middle of a measurement; otherwise its defaults.
socketio = SocketIO(app, async_mode="gevent", ping_interval=600)


@socketio.on("connect")
def connected():
    join_room("everybody")


@app.get("/go")
def go():
    query = {name: float(value) for name, value in request.args.items()}
    for _ in range(int(query["count"])):
        socketio.emit("m", f"@{time.monotonic_ns()}@".ljust(int(query["size"]), "x"), to="everybody")
        socketio.sleep(query["interval"])
    return ""


socketio.run(app, host="127.0.0.1", port=int(sys.argv[1]))
