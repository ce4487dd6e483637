"""Random programs over a random network: whatever is cut, late or small, what arrives is what was sent, so far as it
arrives, and no thread is left waiting.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

import greenserve
from greenserve import testing
from greenserve.hub.core.hub import current_hub

SERVER = ("server", 7)
SEEDS = 1000


def conditions(chance: random.Random) -> dict[str, Any]:
    return {
        "latency": chance.choice([0.0, 0.1, 5.0]),
        "jitter": chance.choice([0.0, 0.5]),
        "pieces": chance.choice([None, 1, 7]),
        "capacity": chance.choice([1, 16, 65536]),
        "cut_after": chance.choice([None, None, 0, 37, 200]),
    }


class Program:
    """Clients that send and read at once, a server that answers in capitals, a killer and a cutter."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.checked = 0
        self.served = 0

    def shout(self, connection: Any, _address: Any) -> None:
        self.served += 1
        while data := connection.recv(self.chance.randint(1, 50)):
            connection.sendall(data.upper())

    def client(self) -> None:
        sent = bytes(self.chance.choices(b"abcdefgh", k=self.chance.randint(0, 120)))
        got = b""
        try:
            with greenserve.connect(SERVER, timeout=30) as connection:
                connection.settimeout(self.chance.choice([None, 1.0, 30.0]))
                sender = greenserve.spawn(self.send, connection, sent)
                try:
                    while data := connection.recv(self.chance.randint(1, 50)):
                        got += data
                finally:
                    sender.kill()
        except OSError:
            pass  # a cut, or a time-out: what came before it counts all the same
        finally:
            assert sent.upper().startswith(got), (self.seed, sent, got)
            self.checked += 1

    def send(self, connection: Any, data: bytes) -> None:
        try:
            connection.sendall(data)
            connection.shutdown(1)
        except OSError:
            pass

    def run(self) -> None:
        chance = self.chance
        with testing.virtual_time(self.seed), testing.network(self.seed, **conditions(chance)) as network:
            with greenserve.StreamServer(SERVER, self.shout, pool=chance.choice([1, 2, 100])):
                clients = [greenserve.spawn(self.client) for _ in range(chance.randint(1, 6))]
                for _ in range(chance.randint(0, 3)):
                    greenserve.sleep(chance.uniform(0, 10))
                    if chance.random() < 0.5 and network.connections:
                        chance.choice(network.connections).cut()
                    else:
                        chance.choice(clients).kill(block=False)
                # Whoever has no time-out and waits behind a full server may wait for as long as that is full.
                greenserve.joinall(clients, timeout=3600)
                for thread in clients:
                    thread.kill()
            greenserve.sleep(60)  # of the clock's: those that were woken by the end have seen it
            hub = current_hub()
            assert not [carrier for carrier in hub.carriers if carrier.job is not None], self.seed
        assert self.checked == sum(thread.started for thread in clients)


@pytest.mark.parametrize("first", range(0, SEEDS, 100))
def test_what_arrives_is_what_was_sent(first: int) -> None:
    programs = [Program(seed) for seed in range(first, first + 100)]
    for program in programs:
        program.run()
    assert sum(program.served for program in programs) > 100
    assert sum(program.checked for program in programs) > 200
