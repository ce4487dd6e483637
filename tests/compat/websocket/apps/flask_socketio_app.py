"""As Flask-SocketIO's documentation teaches, on threads."""

from flask import Flask
from flask_socketio import SocketIO, emit, join_room, send

app = Flask(__name__)
app.config["SECRET_KEY"] = "secret!"
socketio = SocketIO(app, async_mode="threading")


@app.route("/")
def index():
    return "hello"


@socketio.on("message")
def handle_message(data):
    send(data)


@socketio.on("add")
def handle_add(data):
    return data["a"] + data["b"]


@socketio.on("join")
def handle_join(room):
    join_room(room)
    emit("joined", room, to=room)


@socketio.on("later")
def handle_later(text):
    def work():
        socketio.sleep(0.05)
        socketio.emit("done", text)

    socketio.start_background_task(work)
