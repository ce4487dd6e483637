"""A connection over a socket pair: receiving, sending, back-pressure, ends, silence. No server, no network."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import weakref

import pytest

from greenserve import kill, sleep, spawn
from greenserve.hub.core.hub import Hub, current_hub
from greenserve.net import lingering
from greenserve.net.transport import Transport
from greenserve.websocket import ConnectionClosed
from greenserve.websocket.connection import CLOSE_SECONDS, UNSENT_LIMIT
from greenserve.websocket.protocol.deflate import DeflateParameters
from greenserve.websocket.receive_queue import MAX_MESSAGES, MAX_SIZE
from greenserve.websocket.stages import Stage
from tests.waiting import until
from tests.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

from .pair import Pair, Peer

pytestmark = pytest.mark.usefixtures("hub")


def fill(pair: Pair) -> int:
    """Send to a peer that does not read until the outbox is over its limit. Returns how many bytes that were."""
    piece, sent = b"x" * 65536, 0
    while pair.connection.unsent <= UNSENT_LIMIT:
        pair.connection.send(piece)
        sent += len(piece)
    return sent


# -- receiving


def test_messages_come_typed_and_in_order():
    with Pair() as pair:
        pair.peer.send_text("grüß dich")
        pair.peer.send_binary(b"\x00\xff")
        assert pair.ws.receive() == "grüß dich"
        assert pair.ws.receive() == b"\x00\xff"


def test_what_came_with_the_handshake_is_received_first():
    with Pair(start=False) as pair:
        pair.connection.start(b"GREETING", pair.peer.frame(TEXT, b"early"))
        pair.peer.send_text("late")
        assert [pair.ws.receive(), pair.ws.receive()] == ["early", "late"]
        assert pair.peer.socket.recv(8) == b"GREETING"


def test_a_message_may_come_byte_by_byte_and_in_fragments():
    with Pair() as pair:
        stream = (
            pair.peer.frame(TEXT, "hä".encode()[:2], fin=False)
            + pair.peer.frame(PING, b"between")
            + pair.peer.frame(CONTINUATION, "hä".encode()[2:])
        )

        def trickle():
            for octet in stream:
                pair.peer.send(bytes([octet]))
                sleep(0)

        spawn(trickle)
        assert pair.ws.receive() == "hä"
        assert pair.peer.read() == (PONG, b"between")


def test_a_receiver_waits_while_others_run():
    with Pair() as pair:
        waiting = spawn(pair.ws.receive)
        sleep(0)
        pair.peer.send_text("now")
        assert waiting.wait() == "now"


def test_a_timeout_loses_no_message():
    with Pair() as pair:
        with pytest.raises(TimeoutError):
            pair.ws.receive(timeout=0.01)
        pair.peer.send_text("after all")
        assert pair.ws.receive(timeout=5) == "after all"
        assert pair.connection.received.receivers == []


def test_a_killed_receiver_loses_no_message():
    with Pair() as pair:
        waiting = spawn(pair.ws.receive)
        sleep(0)
        kill(waiting)
        pair.peer.send_text("for the next")
        assert pair.ws.receive() == "for the next"


def test_several_receivers_are_served_in_the_order_of_their_coming():
    with Pair() as pair:
        waiting = [spawn(pair.ws.receive) for _ in range(3)]
        sleep(0)
        for text in "abc":
            pair.peer.send_text(text)
        assert [thread.wait() for thread in waiting] == ["a", "b", "c"]


def test_json_is_parsed_and_made():
    with Pair() as pair:
        pair.peer.send_text('{"a": [1, null]}')
        assert pair.ws.receive_json() == {"a": [1, None]}
        pair.ws.send_json({"b": "ü"})
        assert pair.peer.read() == (TEXT, b'{"b":"\\u00fc"}')
        pair.peer.send_text("{")
        with pytest.raises(ValueError):
            pair.ws.receive_json()


# -- back-pressure on what comes


def test_reading_stops_when_nobody_receives_and_goes_on_when_somebody_does():
    count = 5 * MAX_MESSAGES
    with Pair() as pair:
        frames = [pair.peer.frame(TEXT, b"%d" % number) for number in range(count)]
        pair.peer.send(*frames)
        until(lambda: pair.connection.paused)
        assert len(pair.connection.received.messages) == MAX_MESSAGES
        assert [pair.ws.receive(5) for _ in range(count)] == [str(number) for number in range(count)]


def test_large_messages_stop_reading_before_they_fill_the_memory():
    with Pair() as pair:
        sender = spawn(lambda: [pair.peer.send_binary(b"x" * 400_000) for _ in range(20)])
        until(lambda: pair.connection.paused)
        sleep(0.01)
        assert sum(map(len, pair.connection.received.messages)) < MAX_SIZE + 400_000
        assert [len(pair.ws.receive(5)) for _ in range(20)] == [400_000] * 20
        sender.wait()


def test_pings_are_answered_while_nobody_receives():
    with Pair() as pair:
        pair.peer.send(pair.peer.frame(PING, b"are you there"))
        assert pair.peer.read() == (PONG, b"are you there")


def test_a_peer_that_pings_and_never_reads_is_not_answered_without_end():
    with Pair() as pair:
        flood = pair.peer.frame(PING, b"p" * 125) * 500
        pair.peer.socket.settimeout(0)
        rest = b""
        while not pair.connection.paused:
            rest = rest or flood
            with contextlib.suppress(BlockingIOError):
                rest = rest[pair.peer.socket.send(rest) :]
            sleep(0)
        assert pair.connection.unsent < UNSENT_LIMIT + (1 << 17)


# -- sending


def test_messages_are_sent_typed():
    with Pair() as pair:
        pair.ws.send("ä")
        pair.ws.send(b"\x00")
        pair.ws.send(bytearray(b"\x01"))
        pair.ws.send(memoryview(b"\x02"))
        assert [pair.peer.read() for _ in range(4)] == [
            (TEXT, "ä".encode()),
            (BINARY, b"\x00"),
            (BINARY, b"\x01"),
            (BINARY, b"\x02"),
        ]


@pytest.mark.parametrize("message", [None, 3, ["a"]])
def test_what_is_no_message_is_a_type_error(message):
    with Pair() as pair:
        with pytest.raises(TypeError):
            pair.ws.send(message)
        pair.ws.send("still open")
        assert pair.peer.read() == (TEXT, b"still open")


def test_a_large_message_goes_out_as_the_peer_takes_it():
    data = bytes(range(256)) * 20_000  # 5 MB
    with Pair() as pair:
        pair.ws.send(data)  # does not wait: it is one message
        assert pair.connection.unsent > 0
        assert pair.peer.read() == (BINARY, data)
        until(lambda: pair.connection.transport.buffer is None)


def test_a_sender_waits_while_the_peer_does_not_read():
    with Pair() as pair:
        sent = fill(pair)
        late = spawn(pair.ws.send, "late")
        sleep(0.01)
        assert not late.dead
        got = 0
        while got < sent:
            got += len(pair.peer.read()[1])
        assert pair.peer.read() == (TEXT, b"late")
        late.wait()


def test_a_slow_reader_delays_nobody_else():
    with Pair() as slow, Pair() as quick:
        fill(slow)
        stuck = spawn(slow.ws.send, "x")
        quick.ws.send("at once")
        assert quick.peer.read() == (TEXT, b"at once")
        assert not stuck.dead
        kill(stuck)


def test_a_killed_sender_sends_nothing_and_the_others_go_on():
    with Pair() as pair:
        sent = fill(pair)
        threads = [spawn(pair.ws.send, text) for text in ("a", "b", "c")]
        sleep(0)
        kill(threads[1])
        got = 0
        while got < sent:
            got += len(pair.peer.read()[1])
        assert [pair.peer.read()[1], pair.peer.read()[1]] == [b"a", b"c"]


def test_many_small_messages_that_wait_leave_in_order():
    with Pair() as pair:
        sent = fill(pair) // 65536
        pair.connection.transport.buffer.size -= UNSENT_LIMIT  # so that a thousand more are put behind
        for number in range(1000):
            pair.ws.send(b"%d" % number)
        pair.connection.transport.buffer.size += UNSENT_LIMIT
        for _ in range(sent):
            assert len(pair.peer.read()[1]) == 65536
        assert [pair.peer.read()[1] for _ in range(1000)] == [b"%d" % number for number in range(1000)]
        until(lambda: pair.connection.transport.buffer is None)
        assert pair.connection.unsent == 0


@pytest.mark.parametrize("compressed", [False, True])
def test_frames_of_several_green_threads_are_never_mixed(compressed):
    # With a context that is kept, a frame out of its order would not inflate.
    deflate = (
        DeflateParameters(server_no_context_takeover=False, client_no_context_takeover=False, threshold=0)
        if compressed
        else None
    )
    senders, each = 8, 40

    def send(number: int, ws) -> None:
        for turn in range(each):
            ws.send(f"{number}:{turn}:" + chr(97 + number) * (turn * 997))

    with Pair(deflate=deflate) as pair, Pair(client=True, deflate=deflate) as other:
        bridge = [spawn(pump, pair.peer, other.peer), spawn(pump, other.peer, pair.peer)]
        threads = [spawn(send, number, pair.ws) for number in range(senders)]
        turns = dict.fromkeys(map(str, range(senders)), 0)
        for _ in range(senders * each):
            number, turn, rest = other.ws.receive(5).split(":")
            assert int(turn) == turns[number]
            assert rest == chr(97 + int(number)) * (int(turn) * 997)
            turns[number] += 1
        for thread in threads:
            thread.wait()
        for thread in bridge:
            kill(thread)


def pump(source: Peer, sink: Peer) -> None:
    """Hand on whatever one side says to the other, as it is."""
    while data := source.socket.recv(65536):
        sink.socket.sendall(data)


def test_post_gives_up_a_peer_that_does_not_read_instead_of_waiting():
    with Pair() as pair:
        fill(pair)
        assert not pair.connection.post(b"\x81\x01x")
        assert pair.ws.closed
        assert not pair.connection.post(b"\x81\x01x")
        with pytest.raises(ConnectionClosed) as caught:
            pair.ws.receive()
        assert caught.value.code == 1013


def test_post_sends_a_ready_made_frame():
    with Pair() as pair:
        assert pair.connection.post(b"\x81\x01x")
        assert pair.peer.read() == (TEXT, b"x")


# -- other OS threads


def in_thread(function, *args):
    """Run in an OS thread, green threads going on meanwhile; what it returns or raises."""
    outcome: list = []

    def run() -> None:
        try:
            outcome.append((function(*args), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: outcome)
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def test_an_os_thread_sends():
    with Pair() as pair:
        in_thread(pair.ws.send, "from elsewhere")
        assert pair.peer.read() == (TEXT, b"from elsewhere")
        with pytest.raises(TypeError):
            in_thread(pair.ws.send, 5)
        with pytest.raises(UnicodeEncodeError):
            in_thread(pair.ws.send, "\ud800")


def test_an_os_thread_receives_with_and_without_a_wait():
    with Pair() as pair:
        pair.peer.send_text("there already")
        until(lambda: pair.connection.received.messages)
        assert in_thread(pair.ws.receive) == "there already"
        spawn(lambda: (sleep(0.02), pair.peer.send_text("later")))
        assert in_thread(pair.ws.receive, 5) == "later"
        with pytest.raises(TimeoutError):
            in_thread(pair.ws.receive, 0.01)
        until(lambda: not pair.connection.received.receivers)


def test_an_os_thread_waits_while_the_peer_does_not_read():
    with Pair() as pair:
        sent = fill(pair)
        thread = threading.Thread(target=pair.ws.send, args=("late",))
        thread.start()
        sleep(0.05)
        assert thread.is_alive()
        got = 0
        while got < sent:
            got += len(pair.peer.read()[1])
        assert pair.peer.read() == (TEXT, b"late")
        until(lambda: not thread.is_alive())


def test_an_os_thread_closes_and_is_told_of_the_end():
    with Pair() as pair:

        def answer():
            pair.peer.read_close()
            pair.peer.send_close()

        spawn(answer)
        in_thread(pair.ws.close)
        with pytest.raises(ConnectionClosed):
            in_thread(pair.ws.receive)
        with pytest.raises(ConnectionClosed):
            in_thread(pair.ws.send, "x")
        with pytest.raises(ValueError):
            in_thread(pair.ws.close, 1006)


def test_os_threads_and_green_threads_send_at_once_and_nothing_is_mixed():
    each = 200

    def send(name: str) -> None:
        for turn in range(each):
            pair.ws.send(f"{name}:{turn}:{name * 500}")

    with Pair() as pair:
        os_threads = [threading.Thread(target=send, args=(name,)) for name in "ABC"]
        for thread in os_threads:
            thread.start()
        green = [spawn(send, name) for name in "abc"]
        turns = dict.fromkeys("ABCabc", 0)
        for _ in range(6 * each):
            opcode, payload = pair.peer.read()
            name, turn, rest = payload.decode().split(":")
            assert (opcode, int(turn), rest) == (TEXT, turns[name], name * 500)
            turns[name] += 1
        for thread in green:
            thread.wait()
        until(lambda: not any(thread.is_alive() for thread in os_threads))


# -- the end, by the peer


@pytest.mark.parametrize(("code", "reported"), [(1000, 1000), (1001, 1001), (None, 1005), (4001, 4001)])
def test_the_peers_close_is_answered_and_told(code, reported):
    with Pair() as pair:
        pair.peer.send_text("last")
        pair.peer.send_close(code)
        assert pair.peer.read_close()[0] == reported
        assert pair.peer.at_end()
        assert pair.ws.receive() == "last"  # what came before is still there
        with pytest.raises(ConnectionClosed) as caught:
            pair.ws.receive()
        assert caught.value.code == reported
        assert pair.ws.closed
        assert pair.ws.close_code == reported
        with pytest.raises(ConnectionClosed):
            pair.ws.send("x")
        with pytest.raises(ConnectionClosed):
            pair.ws.ping()


def test_the_reason_is_told():
    with Pair() as pair:
        pair.peer.send_close(4000, "warum nicht")
        with pytest.raises(ConnectionClosed) as caught:
            pair.ws.receive()
        assert (caught.value.code, caught.value.reason) == (4000, "warum nicht")
        assert pair.ws.close_reason == "warum nicht"


@pytest.mark.parametrize("code", [1000, 1001, None, 1012])
def test_iteration_ends_when_the_peer_leaves_in_order(code):
    with Pair() as pair:
        pair.peer.send_text("a")
        pair.peer.send_text("b")
        pair.peer.send_close(code)
        assert list(pair.ws) == ["a", "b"]


@pytest.mark.parametrize("code", [1002, 1008, 1011, 3000, 4999])
def test_iteration_raises_when_the_peer_leaves_for_another_reason(code):
    with Pair() as pair:
        pair.peer.send_text("a")
        pair.peer.send_close(code)
        assert next(pair.ws) == "a"
        with pytest.raises(ConnectionClosed) as caught:
            next(pair.ws)
        assert caught.value.code == code


def test_a_peer_that_vanishes_is_an_abnormal_end():
    with Pair() as pair:
        pair.peer.send_text("a")
        pair.peer.close()
        assert next(pair.ws) == "a"
        with pytest.raises(ConnectionClosed) as caught:
            next(pair.ws)
        assert caught.value.code == 1006
        until(lambda: pair.connection.stage is Stage.CLOSED)


def test_a_reset_peers_last_words_are_heard():
    listener = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listener.getsockname())
    ours, _ = listener.accept()
    listener.close()
    with Pair() as pair:
        pair.connection.transport.close()
        ours.setblocking(False)
        pair.connection.transport = Transport(pair.connection.hub, ours, pair.connection)
        theirs.sendall(pair.peer.frame(TEXT, b"last words") + pair.peer.frame(CLOSE, (4007).to_bytes(2)))
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        theirs.close()
        with contextlib.suppress(ConnectionClosed):
            while True:
                pair.ws.send(b"x" * 1000)
        assert pair.ws.receive() == "last words"
        with pytest.raises(ConnectionClosed) as caught:
            pair.ws.receive()
        assert caught.value.code == 4007


def test_a_violation_is_answered_with_its_code_and_told():
    with Pair() as pair:
        pair.peer.send(b"\x81\x01x")  # not masked
        code, reason = pair.peer.read_close()
        assert (code, reason) == (1002, "a client's frame is not masked")
        assert pair.peer.at_end()
        with pytest.raises(ConnectionClosed) as caught:
            pair.ws.receive()
        assert caught.value.code == 1002


def test_a_message_over_the_limit_is_refused():
    with Pair(max_message=1000) as pair:
        pair.peer.send_binary(b"x" * 1001)
        assert pair.peer.read_close()[0] == 1009
        with pytest.raises(ConnectionClosed) as caught:
            pair.ws.receive()
        assert caught.value.code == 1009


def test_a_waiting_sender_is_told_of_the_end():
    with Pair() as pair:
        fill(pair)
        waiting = spawn(pair.ws.send, "x")
        sleep(0)
        pair.peer.close()
        with pytest.raises(ConnectionClosed):
            waiting.wait()


@pytest.mark.parametrize("wrong", [False, True])
def test_what_came_before_the_end_can_still_be_answered(wrong):
    def echo():
        for message in pair.ws:
            pair.ws.send(message)

    with Pair() as pair:
        echoing = spawn(echo)
        sleep(0)
        end = b"\x83\x80\0\0\0\0" if wrong else pair.peer.frame(CLOSE, (1000).to_bytes(2))
        pair.peer.send(pair.peer.frame(TEXT, b"a"), pair.peer.frame(TEXT, b"b"), end)
        assert [pair.peer.read()[1], pair.peer.read()[1]] == [b"a", b"b"]
        assert pair.peer.read_close()[0] == (1002 if wrong else 1000)
        if wrong:
            with pytest.raises(ConnectionClosed):
                echoing.wait()


def test_a_peer_that_shuts_its_side_behind_a_message_still_gets_its_answer():
    with Pair() as pair:
        answering = spawn(lambda: pair.ws.send(pair.ws.receive()))
        sleep(0)
        pair.peer.send_text("question")
        pair.peer.socket.shutdown(socket.SHUT_WR)
        assert pair.peer.read() == (TEXT, b"question")
        answering.wait()


# -- the end, by us


def test_close_waits_for_the_answer_and_both_sides_end():
    with Pair() as pair:
        closing = spawn(pair.ws.close, 4001, "enough")
        assert pair.peer.read_close() == (4001, "enough")
        sleep(0.01)
        assert not closing.dead
        assert pair.ws.closed
        pair.peer.send_close(4001)
        closing.wait()
        assert pair.peer.at_end()
        pair.ws.close()  # again: harmless


def test_close_drops_what_comes_meanwhile_and_what_nobody_received():
    with Pair() as pair:
        pair.peer.send_text("not received")
        until(lambda: pair.connection.received.messages)
        pair.ws.close(timeout=0)
        pair.peer.send_text("too late")
        pair.peer.send_close()
        with pytest.raises(ConnectionClosed):
            pair.ws.receive()


def test_close_finds_the_peers_answer_behind_a_full_receive_queue():
    with Pair() as pair:
        pair.peer.send(*[pair.peer.frame(TEXT, b"x")] * (4 * MAX_MESSAGES))
        until(lambda: pair.connection.paused)
        closing = spawn(pair.ws.close)
        pair.peer.read_close()
        pair.peer.send_close()
        closing.wait()
        assert pair.ws.close_code == 1000
        assert pair.connection.stage >= Stage.ENDED


def test_close_in_one_thread_ends_the_iteration_in_another():
    with Pair() as pair:
        reading = spawn(list, pair.ws)
        sleep(0)
        pair.ws.close(1000, timeout=0)
        pair.peer.read_close()
        pair.peer.send_close()
        assert reading.wait() == []


@pytest.mark.parametrize("code", [999, 1004, 1005, 1006, 1015, 2999, 5000])
def test_codes_that_must_not_be_sent_are_refused(code):
    with Pair() as pair:
        if code != 1005:
            with pytest.raises(ValueError):
                pair.ws.close(code)
            assert not pair.ws.closed
        else:  # "no code" can be asked for
            pair.ws.close(code, timeout=0)
            assert pair.peer.read_close()[0] == 1005


def test_a_peer_that_does_not_answer_our_close_is_dropped(clock):
    with Pair() as pair:
        begin = clock()
        pair.ws.close(timeout=60)
        assert CLOSE_SECONDS <= clock() - begin <= CLOSE_SECONDS + 1.5
        assert pair.connection.stage is Stage.CLOSED
        assert list(pair.ws) == []  # we closed: a loop ends quietly, however the peer took it


def test_close_returns_at_its_timeout(clock):
    with Pair() as pair:
        pair.ws.close(timeout=1)
        assert clock() == 1
        assert pair.connection.stage is Stage.LEAVING


def test_waiting_in_vain_for_the_end_leaves_nothing_behind(clock):
    with Pair() as pair:
        before = list(pair.connection._callbacks or ())
        for _ in range(3):
            assert not pair.connection.wait_closed(1)
        waiting = spawn(pair.connection.wait_closed, None)
        sleep(0)
        waiting.kill()
        assert list(pair.connection._callbacks or ()) == before


def test_a_peer_that_never_shuts_its_side_is_closed_after_a_while(clock):
    with Pair() as pair:
        pair.peer.send_close()
        pair.peer.read_close()
        begin = clock()
        until(lambda: pair.connection.stage is Stage.CLOSED, step=0.1)
        assert lingering.SECONDS <= clock() - begin <= lingering.SECONDS + 1.5


def test_after_our_close_a_flood_does_not_keep_the_socket_open(clock):
    with Pair() as pair:
        flood = spawn(lambda: [(pair.peer.send_text("x"), sleep(0.3)) for _ in range(100)])
        pair.ws.close(timeout=0)
        begin = clock()
        until(lambda: pair.connection.stage is Stage.CLOSED, step=0.1)
        assert clock() - begin <= CLOSE_SECONDS + 1.5
        kill(flood)


def test_what_waits_to_be_sent_is_sent_before_the_close():
    data = b"x" * (4 << 20)
    with Pair() as pair:
        pair.ws.send(data)
        pair.ws.close(timeout=0)
        assert pair.peer.read() == (BINARY, data)
        assert pair.peer.read_close()[0] == 1000


def test_a_slow_but_steady_reader_gets_all_of_it_before_the_close(clock):
    data = b"x" * (3 << 20)
    with Pair() as pair:
        pair.ws.send(data)
        pair.ws.close(timeout=0)
        got = b""
        while len(got) < len(data):
            sleep(1)  # a minute in all
            got += pair.peer.socket.recv(65536)
        assert got[10 : 10 + len(data)].count(b"x") >= len(data) - 65536


def test_leaving_the_with_block_closes_with_the_code_that_fits():
    for error, code in ((None, 1000), (RuntimeError(), 1011), (ConnectionClosed(1006), 1000)):
        with Pair() as pair:
            with contextlib.suppress(RuntimeError, ConnectionClosed), pair.ws:
                if error is not None:
                    raise error
            assert pair.peer.read_close()[0] == code


def test_a_killed_thread_closes_with_1001():
    def hold():
        with pair.ws:
            pair.ws.receive()

    with Pair() as pair:
        thread = spawn(hold)
        sleep(0)
        kill(thread)
        assert pair.peer.read_close()[0] == 1001


@pytest.mark.parametrize(("restarting", "code"), [(False, 1001), (True, 1012)])
def test_draining_tells_the_peer_and_hands_on_what_it_still_says(restarting, code):
    with Pair() as pair:
        pair.connection.drain(restarting=restarting)
        assert pair.peer.read_close()[0] == code
        pair.peer.send_text("was on its way")
        pair.peer.send_close(code)
        assert list(pair.ws) == ["was on its way"]
        with pytest.raises(ConnectionClosed):
            pair.ws.send("x")


def test_abort_ends_at_once():
    with Pair() as pair:
        waiting = spawn(pair.ws.receive)
        sleep(0)
        pair.connection.abort()
        assert pair.connection.stage is Stage.CLOSED
        with pytest.raises(ConnectionClosed):
            waiting.wait()
        assert pair.peer.read_close()[0] == 1001
        assert pair.peer.at_end()


# -- silence


def test_a_silent_peer_is_pinged_and_then_dropped(clock):
    with Pair(ping_interval=20, ping_timeout=10) as pair:
        pair.peer.socket.settimeout(None)  # which would come first: it is of the same clock
        waiting = spawn(pair.ws.receive)
        opcode, payload = pair.peer.read()
        assert (opcode, len(payload)) == (PING, 4)
        assert 19 <= clock() <= 23
        with pytest.raises(ConnectionClosed) as caught:
            waiting.wait()
        assert caught.value.code == 1006
        assert 29 <= clock() <= 33


def test_a_peer_that_answers_is_kept(clock):
    with Pair(ping_interval=20, ping_timeout=10) as pair:
        pair.peer.socket.settimeout(None)

        def answer():
            while True:
                opcode, payload = pair.peer.read()
                assert opcode == PING
                pair.peer.send(pair.peer.frame(PONG, payload))

        answering = spawn(answer)
        sleep(300)
        assert not pair.ws.closed
        kill(answering)


def test_a_peer_that_speaks_is_not_pinged(clock):
    with Pair(ping_interval=20, ping_timeout=10) as pair:
        for _ in range(30):
            pair.peer.send_text("x")
            pair.ws.receive()
            sleep(10)
        pair.peer.socket.settimeout(0)
        with pytest.raises(BlockingIOError):
            pair.peer.read()


def test_an_interval_of_zero_means_no_pings(clock):
    with Pair(ping_interval=0) as pair:
        sleep(300)
        assert not pair.ws.closed
        pair.peer.socket.settimeout(0)
        with pytest.raises(BlockingIOError):
            pair.peer.read()


def test_a_peer_is_not_dropped_for_the_silence_of_an_application_that_does_not_receive(clock):
    with Pair(ping_interval=20, ping_timeout=10) as pair:
        pair.peer.send(*[pair.peer.frame(TEXT, b"x")] * (2 * MAX_MESSAGES))
        until(lambda: pair.connection.paused)
        sleep(500)
        assert not pair.ws.closed
        assert [pair.ws.receive(1) for _ in range(2 * MAX_MESSAGES)] == ["x"] * (2 * MAX_MESSAGES)


def test_a_peer_that_neither_reads_nor_speaks_is_dropped_and_its_sender_told(clock):
    with Pair(ping_interval=20, ping_timeout=10) as pair:
        fill(pair)
        with pytest.raises(ConnectionClosed):
            pair.ws.send("x")
        assert 29 <= clock() <= 33


@pytest.mark.parametrize("opcode", [PING, PONG])
@pytest.mark.parametrize("payload", [b"", b"1234"])
def test_a_pong_that_nobody_asked_for_and_a_ping_are_no_signs_of_life(clock, opcode, payload):
    with Pair(ping_interval=20, ping_timeout=10) as pair:

        def chatter():
            with contextlib.suppress(OSError):
                while True:
                    pair.peer.send(pair.peer.frame(opcode, payload))
                    sleep(3)

        chattering = spawn(chatter)
        with pytest.raises(ConnectionClosed) as caught:
            pair.ws.receive()
        assert caught.value.code == 1006
        assert 29 <= clock() <= 33
        kill(chattering)


def test_the_pieces_of_a_message_that_takes_long_are_a_sign_of_life(clock):
    with Pair(ping_interval=20, ping_timeout=10) as pair:
        data = pair.peer.frame(BINARY, bytes(100))

        def trickle():
            for octet in data:
                pair.peer.send(bytes([octet]))
                sleep(3)

        spawn(trickle)
        assert pair.ws.receive() == bytes(100)


def test_a_pong_to_a_later_ping_answers_those_before_it(clock):
    with Pair(ping_interval=20, ping_timeout=10) as pair:
        sleep(25)
        pair.ws.ping(b"mine")
        opcode, payload = pair.peer.read()
        assert (opcode, len(payload)) == (PING, 4)
        pair.peer.send(pair.peer.frame(PONG, b"mine"))
        sleep(10)
        assert pair.connection._pings == []
        assert not pair.ws.closed


def test_a_program_may_ping_without_end_a_peer_that_never_answers_or_reads():
    with Pair() as pair:
        for _ in range(20_000):
            pair.ws.ping(b"p" * 125)
        assert len(pair.connection._pings) <= 16
        assert pair.connection.unsent < UNSENT_LIMIT + 200


@pytest.mark.parametrize("ping_interval", [0, 20])
def test_a_peer_that_takes_nothing_is_given_up_whatever_it_sends(clock, ping_interval):
    with Pair(ping_interval=ping_interval, write_timeout=60) as pair:

        def chatter():
            with contextlib.suppress(OSError):
                while True:
                    pair.peer.send(pair.peer.frame(PONG), pair.peer.frame(TEXT, b"x"))
                    pair.ws.receive()
                    sleep(3)

        fill(pair)
        chattering = spawn(chatter)
        with pytest.raises(ConnectionClosed) as caught:
            pair.ws.send("x")
        assert caught.value.code == 1006
        assert 59 <= clock() <= 63
        with contextlib.suppress(ConnectionClosed):
            chattering.wait()


def test_a_member_of_a_room_that_takes_nothing_is_given_up(clock):
    with Pair(write_timeout=60) as pair:
        while pair.connection.transport.buffer is None:
            assert pair.connection.post(b"\x82\x7e\x80\x00" + bytes(32768))
        sleep(63)
        assert pair.ws.closed
        assert not pair.connection.post(b"\x81\x01x")


def test_a_close_that_waits_behind_what_the_peer_does_not_take_ends(clock):
    with Pair(write_timeout=60) as pair:
        fill(pair)
        pair.ws.close(timeout=None)
        assert clock() <= 8


def test_a_peer_that_takes_a_little_at_a_time_is_kept(clock):
    with Pair(write_timeout=60) as pair:
        sent = fill(pair)
        pair.peer.socket.settimeout(None)
        taken = 0
        while taken < sent:
            data = pair.peer.socket.recv(1 << 16)
            assert data
            taken += len(data)
            sleep(20)
        assert clock() > 120
        assert not pair.ws.closed


def test_intervals_below_a_second_are_kept(clock):
    with Pair(ping_interval=0.2, ping_timeout=0.2) as pair:
        with pytest.raises(ConnectionClosed):
            pair.ws.receive()
        assert 0.35 <= clock() <= 0.6


def test_a_pong_is_told_to_who_asked():
    with Pair() as pair:
        heard: list[bytes] = []
        pair.connection.on_pong = heard.append
        pair.ws.ping(b"mark")
        assert pair.peer.read() == (PING, b"mark")
        pair.peer.send(pair.peer.frame(PONG, b"mark"))
        until(lambda: heard == [b"mark"])
        with pytest.raises(ValueError):
            pair.ws.ping(b"x" * 126)


def test_an_error_in_a_callback_ends_this_websocket_and_no_other(caplog):
    def broken(payload):
        raise RuntimeError("mine")

    with Pair() as pair, Pair() as other:
        pair.connection.on_pong = broken
        pair.peer.send(pair.peer.frame(PONG))
        assert pair.peer.read_close()[0] == 1011
        other.ws.send("lives")
        assert other.peer.read() == (TEXT, b"lives")
    assert "mine" in caplog.text


# -- who wants to know of the end


def test_callbacks_are_called_at_the_end_and_when_it_is_closed():
    with Pair() as pair:
        told: list[str] = []
        pair.connection.call_at_end(lambda connection: told.append("end"))
        forgotten = told.clear
        pair.connection.call_at_end(forgotten)
        pair.connection.forget_at_end(forgotten)
        pair.connection.when_closed(lambda connection: told.append("closed"))
        pair.peer.send_close()
        pair.peer.read_close()
        until(lambda: told == ["end"])
        pair.peer.close()
        until(lambda: told == ["end", "closed"])
        pair.connection.call_at_end(lambda connection: told.append("late"))
        pair.connection.when_closed(lambda connection: told.append("too"))
        until(lambda: told == ["end", "closed", "too", "late"])


def test_an_error_of_one_callback_does_not_reach_the_next(capsys):
    with Pair() as pair:
        told: list[object] = []
        pair.connection.call_at_end(lambda connection: 1 / 0)
        pair.connection.call_at_end(told.append)
        pair.connection.abort()
        assert told == [pair.connection]
    assert "ZeroDivisionError" in capsys.readouterr().err


# -- nothing is left


def test_links_leave_neither_descriptors_nor_memory_and_need_no_garbage_collector(request):
    gc.disable()
    request.addfinalizer(gc.enable)
    hub: Hub = current_hub()
    before = len(hub.io.descriptors)
    connections = []
    for _ in range(20):
        with Pair() as pair:
            pair.peer.send_text("x")
            pair.ws.receive()
            pair.peer.send_close()
            pair.peer.read_close()
            assert pair.peer.at_end()
            connections.append(weakref.ref(pair.connection))
        del pair
    until(lambda: len(hub.io.descriptors) <= before + 1)
    assert [connection() for connection in connections] == [None] * 20
