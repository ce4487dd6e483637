"""Does SIGTERM end a process always, and in time, whatever runs in it? The same programs again and again, each time
with the signal at another moment.

    python tools/stopping.py                      # 20 runs of each kind
    python tools/stopping.py --count 500
    python tools/stopping.py --kind embedded --count 100

Prints for each kind how many runs there were, their exit statuses and the longest time from the signal to the end. The
exit code is 1 if one took longer than LIMIT, or ended in another way than it should have; what it said is shown.
"""

from __future__ import annotations

import argparse
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GRACE = 1  # seconds, as the servers are told
LIMIT = 10.0  # seconds from the signal to the end: what the grace and the interpreter's exit take on a busy machine
START_SECONDS = 30.0
CLIENTS = 3

WORKERS = """
import greenserve; greenserve.monkey_patch()
import os, queue, signal, socket, sys, threading, time
def turns():
    while True: sum(range(200)); time.sleep(0)
def naps():
    while True: time.sleep(0.001)
items, lock, taken, (left, right) = queue.Queue(3), threading.Lock(), threading.Lock(), socket.socketpair()
taken.acquire()
def puts():
    while True:
        with lock: items.put(1)
def gets():
    while True: items.get(); left.send(b"x")
def reads():
    while right.recv(1): pass
def tries():
    while not taken.acquire(blocking=False): pass
for work in (turns, naps, puts, gets, reads, tries): threading.Thread(target=work, daemon=True).start()
"""
WAIT = """
print("ready", flush=True)
while True: time.sleep(0.003); threading.Event().wait(0.001)
"""
PROGRAMS = {
    "exits": WORKERS + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))" + WAIT,
    "raises": WORKERS
    + """
class Stop(Exception): pass
def stop(*_): raise Stop
signal.signal(signal.SIGTERM, stop)
try:"""
    + WAIT.replace("\n", "\n    ")
    + """
except Stop: sys.exit(0)
""",
    "waits and exits": WORKERS
    + """
def stop(*_): time.sleep(0.01); threading.Event().wait(0.01); sys.exit(0)
signal.signal(signal.SIGTERM, stop)"""
    + WAIT,
    "embedded": """
import greenserve; greenserve.monkey_patch()
import urllib.request
from concurrent.futures import ThreadPoolExecutor
executor = ThreadPoolExecutor(8)
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(n).encode() for n in executor.map(abs, [-1, -2, -3])]
with greenserve.Server(app, bind="127.0.0.1:0") as server:
    assert urllib.request.urlopen(server.url).read() == b"123"
print("ready", flush=True)
""",
}
APPLICATION = """
import os, signal, sys, threading, time
class Limit(Exception): pass
def expired(*_): raise Limit
def leave(*_): sys.exit(0)
signal.signal(signal.SIGALRM, expired)
def app(environ, start_response):
    how = environ["PATH_INFO"]
    if how == "/alarm": signal.setitimer(signal.ITIMER_REAL, 0.002)
    elif how == "/leave": signal.signal(signal.SIGTERM, leave)
    elif how == "/raise": signal.signal(signal.SIGTERM, expired)
    elif how == "/thread": threading.Thread(target=time.sleep, args=(0.01,)).start()
    try: time.sleep(0.002)
    except Limit: pass
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""


@dataclass(frozen=True)
class Ended:
    """How one run ended. status: None when it had to be killed. seconds: from the signal to the end."""

    status: int | None
    seconds: float
    said: str


@dataclass(frozen=True)
class Kind:
    """Programs of one kind. statuses: those that are right. path: what a server is asked for."""

    run: Callable[[Kind, float], Ended]
    statuses: tuple[int, ...] = (0,)
    program: str = ""
    path: str = ""


def end(process: subprocess.Popen[bytes], output: Path, signum: int | None) -> Ended:
    """Send the signal, and wait; what does not end in time is killed."""
    began = time.monotonic()
    if signum is not None:
        process.send_signal(signum)
    try:
        status: int | None = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        status = None
    return Ended(status, time.monotonic() - began, output.read_text(errors="backslashreplace"))


def await_word(process: subprocess.Popen[bytes], output: Path, word: str) -> str:
    """What the process has said, as soon as the word is in it. Raises RuntimeError when that takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while word not in (said := output.read_text(errors="backslashreplace")):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RuntimeError(f"it did not start: {said}")
        time.sleep(0.01)
    return said


def run_program(kind: Kind, delay: float) -> Ended:
    """A program that is sent SIGTERM some time after it is ready; one that ends by itself is only awaited."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "output"
        with output.open("wb") as file:
            process = subprocess.Popen([sys.executable, "-c", kind.program], stdout=file, stderr=file)
        await_word(process, output, "ready")
        if "SIGTERM" not in kind.program:
            return end(process, output, None)
        time.sleep(delay)
        return end(process, output, signal.SIGTERM)


def run_server(kind: Kind, delay: float) -> Ended:
    """The command, with clients that ask without a pause, until SIGTERM comes."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "stopped.py").write_text(APPLICATION, encoding="utf-8")
        output = Path(directory) / "output"
        words = ["-m", "greenserve", "stopped:app", "--bind", "127.0.0.1:0", "--graceful-timeout", str(GRACE)]
        with output.open("wb") as file:
            process = subprocess.Popen([sys.executable, *words], cwd=directory, stdout=file, stderr=file)
        said = await_word(process, output, "listening on ")
        port = int(said.partition("listening on http://127.0.0.1:")[2].split()[0])
        stopped = threading.Event()
        clients = [threading.Thread(target=ask, args=(port, path, stopped)) for path in ("/", kind.path) * CLIENTS]
        for client in clients:
            client.start()
        time.sleep(delay)
        ended = end(process, output, signal.SIGTERM)
        stopped.set()
        for client in clients:
            client.join()
        return ended


def ask(port: int, path: str, stopped: threading.Event) -> None:
    """Ask again and again, on connections that are kept as long as the server keeps them."""
    request = f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode()
    while not stopped.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), LIMIT) as connection:
                while not stopped.is_set():
                    connection.sendall(request)
                    if not connection.recv(65536):
                        break
        except OSError:
            stopped.wait(0.005)


KINDS = {name: Kind(run_program, program=program) for name, program in PROGRAMS.items()} | {
    # A handler's exception is main's, as with plain threads; there it ends the server, or the request's handler did.
    "server": Kind(run_server, path="/thread"),
    "server, an alarm raises": Kind(run_server, (0, 1, -15), path="/alarm"),  # -15: it had ended already
    "server, its handler exits": Kind(run_server, (0, 1), path="/leave"),
    "server, its handler raises": Kind(run_server, (0, 1), path="/raise"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=20, help="runs of each kind")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this; may be said again")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    wrong = 0
    for name in options.kind or KINDS:
        kind = KINDS[name]
        runs = [kind.run(kind, chance.uniform(0, 0.3)) for _ in range(options.count)]
        statuses = Counter(str(run.status) for run in runs)
        print(f"{name:28} {dict(statuses)}, at most {max(run.seconds for run in runs):.2f} s", flush=True)
        bad = [run for run in runs if run.status not in kind.statuses]
        wrong += len(bad)
        for run in bad[:3]:
            print(f"    status {run.status} after {run.seconds:.1f} s; it said:")
            print("".join(f"    | {line}\n" for line in run.said.splitlines()[-15:]), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
