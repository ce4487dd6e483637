"""What is right for each program that reports.py runs: what it says, its exit status, its figures.

Right is what the standard library does with plain threads, else the RFC or PEP, else what the better peer does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One way to run one program.

    right: what is right, in words. says, never: patterns that its output (both streams) has, and has not; `^` and `$`
    are at lines. most: pattern with one group → the largest that any of its numbers may be. status: the exit status;
    None is any. limit: seconds. times: how often it runs. driver: the function of report_drivers.py that plays with the
    program, where that is only an application. edits: text of the program → what stands in its place, where it could
    not run or would never end otherwise.
    """

    program: str
    right: str
    arguments: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    most: Mapping[str, float] = field(default_factory=dict)
    status: int | None = 0
    limit: float = 30.0
    times: int = 1
    driver: str = ""
    edits: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The program with its arguments."""
        return " ".join([self.program, *self.arguments]) + (f" ({self.times} times)" if self.times > 1 else "")


SPINS = (
    *("lock", "rlock", "sem", "timeout0", "getnowait", "simple", "isset", "procalive", "alive", "join0", "wait0"),
    *("future", "sockpeek", "poll", "waitpid"),
)
NO_DEFECT = ("Traceback", "a defect of greenserve")

HUB = (
    Row(
        "hub/app_async.py",
        "a coroutine that blocks stops no other view: each answers",
        says=(r"^/ 200 x12$", r"^/plain 200 x12$"),
        driver="app_async",
    ),
    Row(
        "hub/app_deep.py",
        "an endless recursion is one request's 500; the others are served",
        says=(r"^/deep 500 x5$", r"^/ 200 x20$", r"^still 200$"),
        driver="app_deep",
    ),
    Row("hub/b01_join_leak.py", "join(timeout) leaves nothing behind", most={r": (\d+)": 64}),
    Row("hub/b02_spawn_after_local_leak.py", "ended timers leave nothing behind", most={r": (\d+)": 64}),
    Row(
        "hub/b03_waitpid_any_exhausts_pool.py",
        "waits that were given up hold no thread of the pool",
        most={r"^4 after ([\d.]+) s": 1.0},
    ),
    Row("hub/b04_dns_fork.py", "the child makes its own lookup", says=(r"^child: [^s]", r"^child's status 0$")),
    Row(
        "hub/b05_threadpool_ghost.py",
        "a call whose thread could not start is not made later",
        says=(r"^caller was told: ", r"^made: \['charge the card \(retry\)'\]"),
    ),
    Row(
        "hub/b06_asyncio_blocking_in_task.py",
        "each thread has a running loop of its own",
        says=(r"^0\n1\n2\n",),
        never=("Error",),
    ),
    Row("hub/b07_taskgroup_exit.py", "sys.exit(3): status 3, nothing printed", never=(r".",), status=3),
    Row("hub/b08_already_waiting_after_kill.py", "the killed thread waits no more", says=(r"^b'x'$",)),
    Row(
        "hub/b09_watch_cancelled_by_socket.py",
        "the watch stays, and the wait by number goes on until its Timeout",
        says=(r"^watch still active: True$", r"^Timeout"),
        never=("EBADF", "Bad file descriptor"),
    ),
    Row(
        "hub/b10_connect_timeout_dns.py",
        "the timeout covers the lookup",
        says=(r"^TimeoutError",),
        most={r"took ([\d.]+) s": 1.0},
    ),
    Row(
        "hub/b13_late_patch_misses.py",
        "a late patch reaches methods' defaults, classes and slots",
        says=(r"^x \[", r"^slotted\.lock: +<class 'greenserve"),
        never=(r"is real: .*(True|built-in)",),
    ),
    Row(
        "hub/b15_native_callback_deadlock.py",
        "a thread that C made may still call: no deadlock",
        says=(r"^from a native thread$",),
    ),
    Row(
        "hub/b17_real_signals_lose_threads.py",
        "a handler that raises loses no green thread",
        ("3",),
        says=(r"no longer run: \[\] other errors: \{\}",),
    ),
    Row(
        "hub/b28_server_executor.py",
        "exit status 0, always",
        says=(r"^b'123'$",),
        never=("Fatal", "Traceback"),
        times=30,
    ),
    Row("hub/b29_second_server.py", "threads outlive their starter", says=(r"^test 1 b'1'$", r"^test 2 b'1'$")),
    Row("hub/b30_exit_noise.py", "KeyboardInterrupt in a link reaches main", says=(r"^main interrupted, right$",)),
    Row("hub/b32_to_thread.py", "a thread outlives its starter", says=(r"^\['finished'\]$",)),
    Row("hub/b35_loop_at_exit.py", "nothing is printed at exit", never=(r".",)),
    Row(
        "hub/b37_recursion_mark.py",
        "only the recursing thread fails",
        says=(r"\A(RecursionError, as it should be \| slept, as it should\n){3}\Z",),
    ),
    Row(
        "hub/b41_memory_socket_timeout.py",
        "each wait keeps its own timeout",
        says=(r"^sendall timed out at 10(\.0)?$", r"timed out after 10(\.0)?$"),
    ),
    Row("hub/b50_nonblocking_listener.py", "the listener waits", ("tcp",), says=(r"^others run$",)),
    Row("hub/b50_nonblocking_listener.py", "the listener waits", ("udp",), says=(r"^others run$",)),
)

PROGRAMS = (
    Row("programs/14b_transforming_files.py", "what read() gives is what is sent"),
    Row("programs/22_hijack_freeze.py", "others are served while a taken socket's client stays", limit=60),
    Row("programs/31a_min.py", "the running loop belongs to the thread", says=(r"^\[\]$",)),
    Row("programs/32_trio.py", "trio and anyio work in main and in threads", limit=60),
    *(
        Row("programs/33_flock.py", "the second waits, the first goes on", (how,), never=("Deadlock",))
        for how in ("flock", "lockf")
    ),
    *(
        Row(
            "programs/34b.py",
            "the handler runs in main, which gets its error",
            (how,),
            says=(r"^handler MainThread$", rf"^main got {error}"),
            never=("not interrupted",),
        )
        for how, error in (
            ("exit", "SystemExit"),
            ("raise", "ValueError"),
            ("sleep", "ValueError"),
            ("join", "ValueError"),
            ("sleep-exit", "SystemExit"),
            ("join-exit", "SystemExit"),
            ("join-sleep-exit", "SystemExit"),
        )
    ),
    *(
        Row(
            "programs/34c_sigterm_exit.py",
            "sys.exit in a handler ends main",
            (how,),
            says=(r"^main got SystemExit after [0-2]\.",),
        )
        for how in ("sleep", "event", "accept")
    ),
    Row("programs/43b_lost_request.py", "a connection that is closed is shut down, also when a child holds it"),
    *(
        Row("programs/55_nonblocking_spin.py", "a loop of tries lets the others run", (how,), most={r": ([\d.]+) s": 1})
        for how in SPINS
    ),
)

SERVER = (
    Row(
        "server/b01_context_leak.py",
        "a request begins with a fresh context and fresh thread-locals",
        says=(r"\A(?s:.*ctx=nobody local=nobody){4}",),
        never=("(ctx|local)=/",),
    ),
    Row(
        "server/b02_tail_waits.py",
        "a complete response leaves at once",
        says=(r"^received 200\d{5} bytes",),
        most={r"longest silence ([\d.]+)s": 1.0},
    ),
    Row("server/b03_readline.py", "lines are read in linear time", most={r"Input ([\d.]+)s": 2.5}),
    Row(
        "server/b04_rooms_unlink.sh",
        "a file that is not a socket is not deleted, and the message says so",
        says=(r"^after:\n(.*\n)*?-rw.* 14 .* (d/)?orders\.db\n", r"^precious data$"),
    ),
    Row(
        "server/b05_error_response.py",
        "a rejection is checked like any response, and answered",
        says=(r"\A(?s:.*=> b.HTTP/1\.1 \d\d\d ){4}",),
        never=(r"^=> .*\\r\\nSet-Cookie", "a defect of greenserve", r"HTTP/1\.1 101"),
    ),
    Row(
        "server/b06_gz.py", "what read() gives is sent", says=(r"^greenserve: b'(352\\r\\n)?hello plain text hello pl",)
    ),
    Row("server/b07_101.py", "after a 101 no request is answered", never=("SECRET",)),
    Row(
        "server/b08b.py",
        "reading in an OS thread works, or is refused; no other client loses anything",
        says=(r"^hung GETs: Counter\(\)$", r"^POST results: Counter\(\{[^{}]*: 40\}\)$"),
        never=("TimeoutError", "b'': "),
        limit=60,
    ),
    Row(
        "server/b09_ws_pong.py",
        "a send to a peer that reads nothing ends, whatever it sends",
        says=(r"^silent peer: .*ended=[^N]", r"^peer that sends a Pong.*ended=[^N]"),
    ),
    Row(
        "server/b10_misc.py",
        "header values, 205, Upgrade as the RFCs have them",
        says=(
            r"^kw plain +b'HTTP/1\.1 200 OK",
            r"^kw upgrade b'HTTP/1\.1 200 OK",
            r"^205 b'HTTP/1\.1 (205|500) ",
            r"^enum .*text/html\\r",
            r"^fmt .*Location: fine\\r",
            r"^is_upgrade over HTTP/1\.0 b'False'$",
        ),
        never=(r"^205 .* 205 .*body", r"^205 .* 205 .*chunked", r"CT\.HTML", "Set-Cookie"),
    ),
    Row(
        "server/b11_surrendered.py",
        "after accept, whatever the application does breaks nothing",
        says=(r"^/small b'\\x81\\x02hi", r"^/big b'\\x81\\x02hi", r"^/input "),
        never=("AttributeError", "a defect of greenserve"),
    ),
    Row(
        "server/b12_slowbody.py",
        "uploads that trickle hold their workers for a bounded time",
        says=(r"answered: b'HTTP/1\.1 200",),
        most={r"after ([\d.]+)s": 5.0},
    ),
    Row(
        "server/b14_thread_write.py",
        "a complete response arrives, whatever fails after it",
        says=(r"^app 3000\d\d\d b'x+'$", r"^app2 3000\d\d\d b'x+'$"),
    ),
    Row(
        "server/b15_settings.py",
        "a secret is never shown, and a path is shown as it is",
        says=(r"rooms unix path with @ +unix:.*a@b",),
        never=(r"^rooms redis.*p@ss", "secret"),
    ),
    Row(
        "server/b16_skip.py",
        "a body that is not sent holds no worker after the response",
        most={r"health check waited ([\d.]+) s": 1.0},
    ),
    Row(
        "server/b17_origin.py",
        "an Origin is written without control characters",
        says=(r"^b'HTTP/1\.1 (403|400)",),
        never=("\x1b", "\x07"),
    ),
    Row("server/b18_blank.py", "blank lines are counted for each request", says=(r"^fine$",)),
    Row(
        "server/b19_server.py",
        "after a Close a peer's flood is cut off by its bytes; others are served",
        most={r"blasted ([\d.]+) GB": 0.1, r"worst latency ([\d.]+) s": 0.5},
        driver="blast",
    ),
    Row(
        "server/b20_hijack101.py",
        "a taken connection is not the server's any more",
        says=(
            r"^/native b'\\x81\\x02hi",
            r"^/socket b'hello'",
            r"service still holds: \[\]$",
            r"^b'ok'$",
            r"^stopped$",
        ),
        never=NO_DEFECT,
    ),
    Row("server/b21_timeout_leak.py", "a Timeout ends with its request", says=(r"client's request: b'.*slept'$",)),
    Row("server/b22.sh", "a broker's socket that vanished is made again", says=(r"^o3:.*rooms: connected",), limit=40),
    Row(
        "server/b25_duplex.py",
        "the reader's deadline holds while another writes",
        says=(
            r"^/plain reader: \[\([12]\.\d, '\w+'\), 'after 6 s'\]",
            r"^/duplex reader: \[\([12]\.\d, '\w+'\), 'after 6 s'\]",
        ),
        limit=40,
    ),
)

ATTACK = (
    Row(
        "attack/r01_access_log_pipe.py",
        "a full pipe cuts no connection",
        says=(r"^answered [1-9]\d*, connections cut 0, log lines [1-9]\d*, 'a defect of greenserve' 0$",),
    ),
    Row(
        "attack/r02_slow_body_any_url.py",
        "bodies that trickle hold up no other request",
        says=(r"^before \(200, ", r"\A(?s:.*^others: \(200, ){3}", r"^after \(200, "),
        most={r"^others: \(200, '(\d+) ms'": 1000},
        limit=60,
    ),
    Row(
        "attack/r03_rooms_redis.py",
        "a message that is not an envelope is refused; the subscription goes on",
        says=(r"^before: b.\\x81\\x03one", r"^8 s after: b.\\x81\\x03two.*, 2\)\]$", r"^a new client: b.<Timeout"),
        never=("Recursion",),
        edits={'cwd=""': 'cwd="."'},  # the system refuses an empty one
    ),
    Row(
        "attack/r04_one_process.py",
        "KeyboardInterrupt of an application is its request's 500",
        says=(r"^KeyboardInterrupt in an application: exit None \(200, ",),
        edits={"time.sleep(40)": "time.sleep(0.1)"},  # an endless loop of one process is that process's to end
    ),
    Row(
        "attack/r05_memoryerror.py",
        "no memory for another green thread: the server goes on",
        says=(r"^\(200, ", r"^after: .* exit None "),
        limit=60,
    ),
    Row("attack/r06_ws_memory.py", "what is held is counted in bytes", most={r"MB, ([\d.]+) MB each": 2.2}),
    Row("attack/r07_ws_body.py", "a handshake with a body is refused", says=(r"<EOF>",), never=(r"\\x8[18]",)),
    Row("attack/r08_fd_idle.py", "the oldest silent connection gives way", most={r"again after ([\d.]+) s": 3.0}),
    Row(
        "attack/r09_small.sh",
        "clean logs, 101, 205, GreenletExit, secrets, signals",
        says=(r"^\['\{\"time.*\}'\]$", r"^HUP: exit 0$", r"^USR1: exit 0$"),
        never=(
            r"(?<!\\)\\x(9b|85|7f)",
            r"101 Switching Protocols\s+HTTP/1\.1 200",
            r"^hello\b",
            "=two|three",
            r'HTTP/1\.1" 200 127\.0',
        ),
        edits={
            "kill -$s $PID; wait": "kill -$s $PID; sleep 0.3; kill $PID; wait",  # what is ignored ends nothing
            "sleep 0.8": "until (echo > /dev/tcp/127.0.0.1/$P) 2> /dev/null; do sleep 0.1; done",
        },
        limit=60,
    ),
)

PEERS = (
    Row("peers/asyncio_gel_server.py", "get or make a loop: all requests", says=(r"^\{'ok': 5\}$",), driver="five"),
    Row(
        "peers/asyncio_get_event_loop.py",
        "the policy's loop belongs to the thread",
        ("gs",),
        says=(
            r"get_event_loop\(\): \[[012], [012], [012]\]$",
            r"set_event_loop\(\): \[True, 'ok'\]$",
            "no running loop",
        ),
    ),
    Row(
        "peers/local_copy.py",
        "as the standard library's local",
        says=(r"^<class 'greenserve",),
        never=("aliases",),
    ),
    Row("peers/null_object.py", "patched", says=(r"^patched$",)),
    Row(
        "peers/queue_get_hook.py",
        "the error is the getter's; the item stays",
        says=(r"^put returned$", r'^getter: \["ValueError\(\'cannot get\'\)"\] qsize 1 unfinished 1$'),
    ),
    Row(
        "peers/queue_hook_leak.py",
        "a refused item leaves nothing behind",
        says=(r"^greenserve\S* ok, qsize 1$", r"\A(?s:.*after a refused put: 0){2}", r"\A(?s:.*join returned){2}"),
        never=("hangs", "Full"),
    ),
    Row(
        "peers/rst.py",
        "what was sent arrives; a reset only where the close is the framing",
        ("greenserve",),
        says=(
            r"^1 1\.1 bytes \d+ last words True error None$",
            r"^300 1\.1 bytes \d+ last words True error None$",
            r"^3000 1\.1 bytes \d+ last words True error None$",
            r"^1 1\.0 .* error .*reset",
        ),
    ),
    Row(
        "peers/stderr_no_flush.py",
        "a report that cannot be written stops no green thread",
        says=(r"^waiter got ValueError boom$", r"^dead: True pool free: 1$"),
        status=120,  # CPython's own word for a sys.stderr that cannot be flushed at the end
    ),
    *(
        Row(
            "peers/stderr_server.py",
            "a report that cannot be written stops no green thread",
            arguments,
            says=(r"^/ b'ok'\n(?s:.*)^/bg b'ok'\n(?s:.*)^/ b'ok'\n(?s:.*)^/ b'ok'$", r"^exit status 0$"),
            status=status,
        )
        for arguments, status in (((), 120), (("stderr",), 0))
    ),
    Row("peers/vars_none.py", "patched", says=(r"^patched$",)),
)

ROWS = (*HUB, *PROGRAMS, *SERVER, *ATTACK, *PEERS)
