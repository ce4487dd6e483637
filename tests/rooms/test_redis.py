"""The Redis bus with a real redis-server, which dies and comes back."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

import greenserve
from greenserve.errors import ConfigurationError
from greenserve.patching.monkey import is_monkey_patched
from greenserve.rooms.bus import Outbox
from greenserve.rooms.registry import make_bus
from tests.conftest import REPOSITORY
from tests.rooms.listening import Recorder
from tests.rooms.redis_server import RedisServer
from tests.waiting import until

pytest.importorskip("redis")


pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def members(redis: RedisServer) -> Iterator[list[Recorder]]:
    found = [Recorder(make_bus(redis.url)), Recorder(make_bus(redis.url))]
    until(lambda: all(each.bus.connected for each in found))
    yield found
    for each in found:
        each.bus.close()


def test_it_is_green_in_a_process_that_is_not_patched(members: list[Recorder]) -> None:
    assert not is_monkey_patched("socket")
    assert all(each.bus.connected for each in members)  # and this thread was never blocked: both waited in one hub


def test_what_one_publishes_the_others_hear_in_order(members: list[Recorder]) -> None:
    one, two = members
    two.hears("ü")
    payloads = [f"{number}\r\n".encode() for number in range(1000)]
    for payload in payloads:
        assert one.bus.publish("ü", payload)
    until(lambda: len(two.heard) == len(payloads))
    assert two.payloads("ü") == payloads


def test_who_has_unsubscribed_hears_no_more(members: list[Recorder]) -> None:
    one, two = members
    two.hears("a")
    two.bus.unsubscribe("a")
    two.hears("b")
    one.bus.publish("a", b"1")
    one.bus.publish("b", b"2")
    until(lambda: two.heard)
    assert two.heard == [("b", b"2")]


def test_databases_and_prefixes_are_kept_apart(redis: RedisServer) -> None:
    urls = [redis.url, redis.url[:-1] + "4", redis.url + "?prefix=shop", redis.url]
    found = [Recorder(make_bus(url)) for url in urls]
    until(lambda: all(each.bus.connected for each in found))
    for each in found:
        each.hears("a")
    found[0].bus.publish("a", b"1")
    until(lambda: found[3].heard)
    assert [each.heard for each in found[1:]] == [[], [], [("a", b"1")]]
    for each in found:
        each.bus.close()


def test_after_an_outage_everything_goes_on_and_nothing_comes_twice(
    members: list[Recorder], redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = members
    two.hears("a")
    one.hears("a")
    one.bus.publish("a", b"before")
    until(lambda: two.heard)
    redis.kill()
    until(lambda: not one.bus.connected and not two.bus.connected)
    assert not one.bus.publish("a", b"lost")
    two.bus.subscribe("b")
    redis.start()
    until(lambda: two.subscribed.count("a") == one.subscribed.count("a") == 2 and "b" in two.subscribed)
    assert one.bus.publish("a", b"after")
    assert one.bus.publish("b", b"new")
    until(lambda: len(two.heard) == 3)
    assert two.heard == [("a", b"before"), ("a", b"after"), ("b", b"new")]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([text for text in warnings if "no connection to" in text]) == 2  # one for each, not for each attempt
    assert len([text for text in warnings if "again after" in text]) == 2


def test_a_redis_that_is_not_there_yet_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    server = RedisServer()
    recorder = Recorder(make_bus(server.url))
    recorder.bus.subscribe("a")
    until(lambda: caplog.records)
    with server:
        until(lambda: recorder.subscribed == ["a"])
        recorder.bus.close()


def test_a_redis_that_refuses_is_named_with_its_reason_and_without_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RedisServer("--requirepass", "right") as server:
        wrong = Recorder(make_bus(f"redis://:secret@127.0.0.1:{server.port}/0"))
        until(lambda: caplog.records)
        right = Recorder(make_bus(f"redis://:right@127.0.0.1:{server.port}/0"))
        until(lambda: right.bus.connected)
        wrong.bus.close()
        right.bus.close()
    assert "invalid username-password pair" in caplog.text
    assert f"redis://127.0.0.1:{server.port}/0" in caplog.text
    assert "secret" not in caplog.text


def test_a_redis_with_tls_is_green_too(free_port: int) -> None:
    pem = str(REPOSITORY / "tests" / "certificates" / "localhost.pem")
    options = ["--tls-port", str(free_port), "--tls-cert-file", pem, "--tls-key-file", pem, "--tls-auth-clients", "no"]
    with RedisServer(*options):
        url = f"rediss://localhost:{free_port}/0?ssl_ca_certs={pem}"
        one, two = Recorder(make_bus(url)), Recorder(make_bus(url))
        two.hears("a")
        until(lambda: one.bus.connected)
        one.bus.publish("a", b"x" * 100_000)
        until(lambda: two.heard)
        assert two.heard == [("a", b"x" * 100_000)]
        one.bus.close()
        two.bus.close()


def test_one_who_may_not_publish_is_told_why(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer("--user", "default", "on", "nopass", "+@all", "-publish", "allchannels", "allkeys") as server:
        recorder = Recorder(make_bus(server.url))
        until(lambda: recorder.bus.connected)
        recorder.bus.publish("a", b"1")
        until(lambda: "no connection" in caplog.text)
        recorder.bus.close()
    assert "no permissions to run the 'publish' command" in caplog.text


def test_a_peer_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenserve.rooms.redis.SILENCE_SECONDS", 0.1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        bus = make_bus(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        recorder = Recorder(bus)
        until(lambda: bus._lost)  # type: ignore[attr-defined]
        assert not bus.connected  # type: ignore[attr-defined]
        recorder.bus.close()
    greenserve.sleep(0)


@pytest.mark.parametrize("url", ["redis://127.0.0.1/0?socket_timeout=x", "redis://127.0.0.1/0?colour=green"])
def test_a_parameter_that_redis_py_does_not_know_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"redis://127\.0\.0\.1/0"):
        make_bus(url)


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="use unix:PATH or redis://"):
        make_bus("amqp://127.0.0.1")


@pytest.mark.parametrize("error", [OSError("Bad file descriptor"), ValueError("I/O operation on closed file")])
def test_the_end_of_a_connection_that_was_given_up_is_no_failure_of_the_next(
    redis: RedisServer, error: Exception
) -> None:
    class Gone:
        wire = property(lambda self: self)

        def sendall(self, _: bytes) -> None:
            raise error

    bus = make_bus(redis.url)
    outbox = Outbox()
    outbox.put(b"something")
    before = bus.failure
    bus._publish_all(Gone(), Gone(), outbox)
    assert bus.failure is before
