"""WebSockets for a long time, with everything that goes wrong: `python tools/soak_websocket.py --minutes 10`.

Two server processes share rooms over a Redis that is killed and started again; clients talk, fragment, read slowly,
stop in the middle of a handshake, vanish. At the end memory must be flat, no client may be stuck, and nothing may have
been delivered twice or out of order. Talks to 127.0.0.1 only; needs redis-server and the test packages. Prints what it
has seen; the exit code is 1 if that is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket as sockets
import struct
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import greenserve
from greenserve import tpool, websocket
from greenserve.green import socket
from tests.e2e.server_process import ServerProcess
from tests.rooms.redis_server import RedisServer
from tests.wire import BINARY, CONTINUATION, PING, TEXT, frame, upgrade

ROOMS = ("/room/a", "/room/b", "/room/c")
GROWTH = 1.15  # of a server's memory, from after the warm-up to the end; and this many KiB, for small ones:
SLACK = 4096
SETTLING = 30.0  # seconds for the servers to notice that all clients have gone


class Soak:
    """The clients, and what they count."""

    def __init__(self, servers: list[ServerProcess], chance: random.Random, ends: float) -> None:
        self.servers = servers
        self.chance = chance
        self.ends = ends
        self.clock = greenserve.current_hub().clock
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    def url(self, path: str) -> str:
        """Of either server."""
        return self.chance.choice(self.servers).url.replace("http", "ws") + path

    def run(self, clients: int) -> None:
        """All kinds of clients at once, until the time is over."""
        kinds = [self.echo, self.talk, self.talk, self.fragments, self.slow, self.vanish, self.half]
        threads = [greenserve.spawn(self._again, kinds[number % len(kinds)], number) for number in range(clients)]
        greenserve.joinall(threads)

    def _again(self, kind: Callable[[int], None], number: int) -> None:
        while self.clock() < self.ends:
            try:
                kind(number)
                self.done[kind.__name__] += 1
            except (OSError, websocket.HandshakeFailed) as error:
                self.done[f"{kind.__name__}: {type(error).__name__}"] += 1
                greenserve.sleep(0.1)
            except AssertionError as error:
                self.wrong.append(f"{kind.__name__}: {error}")

    # -- clients that behave

    def echo(self, _number: int) -> None:
        """Messages of all sizes come back as they were."""
        with websocket.connect(self.url("/echo"), max_message=None, compression=self.chance.random() < 0.5) as ws:
            for _ in range(self.chance.randint(1, 30)):
                octets = self.chance.randbytes(int(2 ** self.chance.uniform(0, 18)))
                data = octets.hex() if self.chance.random() < 0.5 else octets
                ws.send(data)
                assert ws.receive(60) == data, "an echo is another message"

    def talk(self, number: int) -> None:
        """In a room: what each speaker says comes once, and in order."""
        heard: dict[str, int] = {}
        me = f"{number}.{self.chance.getrandbits(48)}"
        with websocket.connect(self.url(self.chance.choice(ROOMS))) as ws:
            for said in range(self.chance.randint(1, 20)):
                ws.send_json([me, said])
                until = self.clock() + self.chance.uniform(0, 0.5)
                while (left := until - self.clock()) > 0:
                    try:
                        speaker, count = ws.receive_json(left)
                    except TimeoutError:
                        break
                    assert count > heard.get(speaker, -1), f"{speaker} said {count} after {heard.get(speaker)}"
                    heard[speaker] = count

    # -- clients that do not

    def _raw(self, path: str) -> Any:
        host, _, port = self.url("").removeprefix("ws://").partition(":")
        sock = socket.create_connection((host, int(port)), 30)
        sock.sendall(upgrade(path))
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(4096)
            if not data:
                raise ConnectionError("the handshake was not answered")
            head += data
        return sock

    def fragments(self, _number: int) -> None:
        """A message in many frames and many more packets, with Pings in between."""
        with self._raw("/echo") as sock:
            size = self.chance.randint(1, 2000)
            pieces = [self.chance.randbytes(self.chance.randint(0, 10)) for _ in range(size // 10 + 1)]
            stream = b""
            for index, piece in enumerate(pieces):
                opcode = BINARY if index == 0 else CONTINUATION
                stream += frame(opcode, piece, fin=index == len(pieces) - 1)
                if self.chance.random() < 0.1:
                    stream += frame(PING, b"")
            while stream:
                cut = self.chance.randint(1, 50)
                sock.sendall(stream[:cut])
                stream = stream[cut:]
                if self.chance.random() < 0.05:
                    greenserve.sleep(0.01)
            wanted = b"".join(pieces)
            got = b""
            while (wanted[-20:] or b"\x82\x00") not in got:  # and the server's Pings
                data = sock.recv(65536)
                assert data, "the echo of a fragmented message did not come"
                got += data

    def slow(self, _number: int) -> None:
        """Joins a room, and reads nothing for a while."""
        sock = self._raw(self.chance.choice(ROOMS))
        with sock:
            sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
            greenserve.sleep(self.chance.uniform(0, 5))

    def vanish(self, _number: int) -> None:
        """Goes in the middle of a frame, with a reset."""
        sock = self._raw(self.chance.choice(("/echo", *ROOMS)))
        sock.sendall(frame(TEXT, b"x" * 1000)[: self.chance.randint(1, 900)])
        greenserve.sleep(self.chance.uniform(0, 0.5))
        sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def half(self, _number: int) -> None:
        """Stops in the middle of a handshake."""
        server = self.chance.choice(self.servers)
        with socket.create_connection((server.host, server.port), 30) as sock:
            head = upgrade("/echo")
            sock.sendall(head[: self.chance.randint(0, len(head) - 1)])
            greenserve.sleep(self.chance.uniform(0, 3))


def state_of(server: ServerProcess) -> dict[str, int]:
    """What the server says of itself."""
    with tpool.execute(urllib.request.urlopen, f"{server.url}/state", timeout=30) as answer:
        said: dict[str, int] = json.load(answer)
    return said


def outages(redis: RedisServer, every: float, count: int) -> None:
    """Kill Redis and start it again, `count` times."""
    for _ in range(count):
        greenserve.sleep(every)
        tpool.execute(redis.kill)
        greenserve.sleep(min(2.0, every / 4))
        tpool.execute(redis.start)


def soak(seconds: float, clients: int, seed: int) -> tuple[list[str], dict[str, Any]]:
    """Run it. Returns what was wrong, and what was seen."""
    with RedisServer() as redis:
        options = ("--rooms", redis.url, "--ws-ping-interval", "1s", "--header-timeout", "2s")
        application = "tools.soak_app:app"
        with ServerProcess(application, *options) as first, ServerProcess(application, *options) as second:
            servers = [first, second]
            run = Soak(servers, random.Random(seed), greenserve.current_hub().clock() + seconds)
            idle = [first_state(server) for server in servers]
            breaking = greenserve.spawn(outages, redis, seconds / 6, 4)
            load = greenserve.spawn(run.run, clients)
            samples: list[list[dict[str, int]]] = []
            while not load.dead:
                greenserve.joinall([load], timeout=seconds / 10)
                samples.append([state_of(server) for server in servers])
            load.wait()
            breaking.wait()
            settled = settle(servers)
        output = first.output + second.output
    wrong = run.wrong + judged(idle, samples, settled, output)
    return wrong, {"done": dict(sorted(run.done.items())), "samples": samples, "at the end": settled}


def settle(servers: list[ServerProcess]) -> list[dict[str, int]]:
    """The states when all clients have gone, or after SETTLING seconds."""
    clock = greenserve.current_hub().clock
    ends = clock() + SETTLING
    while True:
        states = [state_of(server) for server in servers]
        if not any(state["websockets"] for state in states) or clock() > ends:
            return states
        greenserve.sleep(0.5)


def first_state(server: ServerProcess) -> dict[str, int]:
    """When a client has been in a room, and so the threads that rooms need have begun."""
    with websocket.connect(server.url.replace("http", "ws") + ROOMS[0]) as ws:
        ws.send("first")
        ws.receive(30)
    states = []
    for _ in range(5):
        greenserve.sleep(0.2)
        states.append(state_of(server))
    return max(states, key=lambda state: state["threads"])


def judged(
    idle: list[dict[str, int]], samples: list[list[dict[str, int]]], settled: list[dict[str, int]], output: str
) -> list[str]:
    """What is wrong with the servers."""
    wrong = []
    warm = samples[len(samples) // 3]  # by then every kind of client has come and gone
    for number, (before, after) in enumerate(zip(warm, settled, strict=True)):
        if after["websockets"]:
            wrong.append(f"server {number} still has {after['websockets']} WebSockets open")
        if after["threads"] > idle[number]["threads"]:
            wrong.append(
                f"server {number} has {after['threads']} green threads at work; idle {idle[number]['threads']}"
            )
        if after["pss"] > before["pss"] * GROWTH + SLACK:
            wrong.append(f"server {number} has grown from {before['pss']} to {after['pss']} KiB")
    if "Traceback" in output:
        wrong.append(f"a traceback: {output[output.index('Traceback') :][:2000]}")
    return wrong


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=140, help="at once, of seven kinds")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    wrong, seen = soak(options.minutes * 60, options.clients, options.seed)
    for name, count in seen["done"].items():
        print(f"{count:8} {name}")
    for number, states in enumerate([*seen["samples"], seen["at the end"]]):
        print(f"{number:3} " + "   ".join(json.dumps(state) for state in states))
    print("\n".join(f"wrong: {each}" for each in wrong) or "nothing wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
