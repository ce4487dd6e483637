"""The rules of the house (docs/design.md): which room may import which, what stays pure, and which names are public."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import greenserve
from greenserve.patching.table import TABLE, Patch

PACKAGE = Path(greenserve.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# Each room, and the rooms that it may import. "" is the package's root with its public names.
BASE = {"codec", "errors", "settings", "version"}
PROTOCOLS = {"http", "wsgi", "websocket"}
TWIN_MAKING = {"patching.polling", "patching.rebind", "patching.reimport"}  # what patching and its twins are made with
SERVER = (
    BASE | PROTOCOLS | {"hub", "green", "net", "patching", "rooms", "static", "tls", "compat.websocket"} | TWIN_MAKING
)
# What the supervisor and its workers have in common; like all of the supervisor's, without the rest of greenserve.
SHARED = {"supervisor.channel", "supervisor.table"}
# Modules that only give names of the hub and the green twins another place to be found at, most of them Eventlet's.
NAMES = {
    "debug",
    "event",
    "greenpool",
    "greenthread",
    "patcher",
    "pools",
    "queue",
    "semaphore",
    "timeout",
    "tpool",
}
MAY_IMPORT: dict[str, set[str]] = {
    "_codec": set(),  # written in C
    "codec": {"_codec", "errors"},
    "errors": set(),
    "version": set(),
    "settings": {"errors"},
    "loading": {"errors"},
    "process": {"errors", "settings"},
    "process.systemd": set(),  # as light as the supervisor, which uses it
    "hub": {"errors"},
    "testing": {"errors", "hub", "green"},
    **{name: {"hub"} for name in TWIN_MAKING},
    "green": {"errors", "hub"} | TWIN_MAKING,
    "patching": {"errors", "hub", "green"} | TWIN_MAKING,
    "net": {"errors", "settings", "hub", "green", "net.unix_path"},
    "net.unix_path": set(),  # as light as the rooms' broker, which uses it
    "tls": {"errors", "settings", "loading"},
    "http": {"codec", "errors"},
    "wsgi": BASE | {"http"},
    "static": BASE | {"http", "wsgi"},
    "websocket": BASE | {"http", "hub", "green", "net"},
    "rooms": BASE | {"hub", "green", "net", "patching.rebind", "websocket", "rooms.protocol", "rooms.unix.broker"},
    "rooms.protocol": set(),
    "rooms.unix.broker": {"rooms.protocol", "net.unix_path"},  # a process without the rest of greenserve
    **{name: set() for name in SHARED},
    "server": SERVER | SHARED,
    "reload": {"errors", "http", "supervisor.channel"},
    "compat.websocket": BASE | {"websocket"},
    "compat.former_names": {"hub", "net", "patching", "wsgi"},
    "compat": SERVER | {"server"},
    "admin": SERVER | {"server"},
    "supervisor": SHARED | {"process.systemd", "version"},
    "workers": SERVER | SHARED | {"reload", "server", "supervisor", "process", "process.systemd", "loading"},
    "cli": SERVER | SHARED | {"server", "admin", "supervisor", "workers", "loading", "process", "process.systemd", ""},
    "demo": {"version", "", "rooms", "websocket"},  # an application like any other: public names only
    "__init__": SERVER | {"", "compat.former_names", "server", "loading", "testing"} | NAMES,
    "__main__": {"cli"},
    "monkey": {"patching"},
    **{name: {"hub", "green", "patching"} for name in NAMES},
}
# Public names above their own room: imported when they are first asked for.
FACES = {Path("wsgi/__init__.py"): {"compat"}, Path("websocket/__init__.py"): {"compat.websocket"}}

# Sans-IO: bytes and events in, bytes and events out.
CLOCK = {"sched", "time"}
NETWORK = {"_socket", "select", "selectors", "socket", "socketserver", "ssl"}
CONCURRENCY = {
    "_thread",
    "asyncio",
    "concurrent",
    "greenlet",
    "multiprocessing",
    "queue",
    "signal",
    "subprocess",
    "threading",
}
PURE = {Path("http"), Path("websocket/protocol"), Path("rooms/protocol")}  # packages

PUBLIC = {
    "AsyncResult",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Channel",
    "Condition",
    "DatagramServer",
    "Empty",
    "Event",
    "Flag",
    "Full",
    "GreenPile",
    "GreenPool",
    "GreenThread",
    "LifoQueue",
    "LightQueue",
    "Lock",
    "Pool",
    "PriorityQueue",
    "Queue",
    "RLock",
    "Request",
    "Response",
    "Semaphore",
    "Server",
    "ShutDown",
    "SimpleQueue",
    "StopServe",
    "StreamServer",
    "TaskGroup",
    "ThreadPool",
    "Timeout",
    "TokenPool",
    "__version__",
    "connect",
    "current_hub",
    "debug",
    "get_ident",
    "getcurrent",
    "import_patched",
    "is_monkey_patched",
    "is_timeout",
    "iwait",
    "joinall",
    "kill",
    "listen",
    "local",
    "monkey_patch",
    "net",
    "original",
    "rooms",
    "run_dag",
    "serve",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_after_local",
    "spawn_n",
    "testing",
    "tpool",
    "waitall",
    "websocket",
    "with_timeout",
    "wrap_ssl",
}


def room(module: Path) -> str:
    return room_of(list(module.with_suffix("").parts))


def room_of(names: list[str]) -> str:
    """The innermost room that a dotted name leads to; "" for a public name of the root."""
    return next((".".join(names[:n]) for n in range(len(names), 0, -1) if ".".join(names[:n]) in MAY_IMPORT), "")


def is_pure(module: Path) -> bool:
    return not PURE.isdisjoint(module.parents)


def tree(module: Path) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text())


def imports(node: ast.AST, module: Path) -> Iterator[str]:
    """The full dotted names that are imported anywhere below the node, functions included."""
    package = ["greenserve", *module.parent.parts]
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else []
            origin = ".".join([*base, child.module] if child.module else base)
            yield from (f"{origin}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith(("import_module", "__import__")):
            yield ast.unparse(child.args[0]).strip("f'\"")


def rooms(node: ast.AST, module: Path) -> set[str]:
    """The rooms of the project that are imported below the node; "" for a public name of the root."""
    found = set()
    for name in imports(node, module):
        first, *rest = name.split(".")
        if first == "greenserve":
            found.add(room_of(rest))
    return found


@pytest.mark.parametrize(
    ("source", "room"),
    [
        ("import greenserve.server.listener", "server"),
        ("from greenserve import server", "server"),
        ("from greenserve.server import Server", "server"),
        ("from ..server import Server", "server"),
        ("from .. import server", "server"),
        ("from . import head", "http"),
        ("def late():\n    from greenserve import serve", ""),
        ("def late():\n    importlib.import_module('greenserve.server.server')", "server"),
        ("import_module(f'greenserve.server.{name}')", "server"),
        ("from greenserve.patching.rebind import complete", "patching.rebind"),
    ],
)
def test_every_way_to_import_a_room_is_seen(source: str, room: str) -> None:
    assert rooms(ast.parse(source), Path("http/request.py")) == {room}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_only_the_rooms_below_its_own(module: Path) -> None:
    allowed = MAY_IMPORT[room(module)] | {room(module)} | FACES.get(module, set())
    assert rooms(tree(module), module) <= allowed


@pytest.mark.parametrize("module", [module for module in MODULES if is_pure(module)], ids=str)
def test_a_protocol_touches_no_socket_no_clock_and_no_green_thread(module: Path) -> None:
    imported = set(imports(tree(module), module))
    assert not {name.split(".")[0] for name in imported} & (CLOCK | NETWORK | CONCURRENCY)
    pure = tuple(".".join(("greenserve", *package.parts)) for package in PURE)
    assert not {
        name
        for name in imported
        if name.startswith("greenserve.") and not name.startswith((*pure, "greenserve.codec", "greenserve.errors"))
    }


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) in {"server", "websocket"}], ids=str)
def test_a_server_and_a_websocket_touch_no_socket_and_no_poller(module: Path) -> None:
    """Their bytes are a transport's, in net/; hijack.py hands a green socket to an application, and has it finish."""
    assert not {name.split(".")[0] for name in imports(tree(module), module)} & NETWORK
    used = {node.attr for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
    assert not used & {"poller", "register", "unregister", "sendfile", "sendmsg", "setsockopt", "getsockname"}
    assert module == Path("server/hijack.py") or not used & {"recv", "recv_into", "sendall", "shutdown", "fileno"}


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) == "wsgi"], ids=str)
def test_wsgi_touches_no_socket_no_clock_and_no_green_thread(module: Path) -> None:
    """Its bytes go through the connection, its waits too."""
    assert not {name.split(".")[0] for name in imports(tree(module), module)} & (CLOCK | NETWORK | CONCURRENCY)


def test_how_a_body_is_framed_is_said_in_one_place() -> None:
    def says(node: ast.AST) -> bool:
        value = node.value if isinstance(node, ast.Constant) else None
        return isinstance(value, bytes) and value.lower().startswith((b"content-length", b"transfer-encoding", b"%x"))

    found = [module for module in MODULES if any(map(says, ast.walk(tree(module))))]
    assert found == [Path("http/body_writer.py")]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_import_cycle_is_hidden_under_type_checking(module: Path) -> None:
    for node in ast.walk(tree(module)):
        # The package's root says there what it imports when it is first asked for, which no module below it does.
        if module in {Path("__init__.py"), *FACES}:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            assert not rooms(node, module), f"line {node.lineno}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_an_import_inside_a_function_says_why(module: Path) -> None:
    lines = (PACKAGE / module).read_text().splitlines()
    for function in ast.walk(tree(module)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    assert re.search(r"# noqa: PLC0415 - \w", lines[node.lineno - 1]), f"line {node.lineno}"


@pytest.mark.parametrize("module", [module for module in MODULES if module.parts[:2] != ("hub", "core")], ids=str)
def test_the_scheduler_alone_touches_the_ready_queue(module: Path) -> None:
    """All else makes something ready by its `make_ready`, by `wake` and `resume`, and looks at how much there is."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute | ast.Subscript) and ast.unparse(node.value).endswith("hub.ready"):
            raise AssertionError(f"line {node.lineno}")


# Where waiting is written out; core/wait_queue.py says why.
WAIT_BY_HAND = {
    *("hub/core/wait_queue.py", "hub/core/io.py", "hub/greenthread.py"),
    *("hub/sync/light_queue.py", "hub/sync/hooked_store.py", "hub/sync/rlock.py", "websocket/receive_queue.py"),
}


def test_a_wait_queue_alone_makes_the_tokens_of_waiters() -> None:
    def makes_a_token(module: Path) -> bool:
        lists = (node for node in ast.walk(tree(module)) if isinstance(node, ast.List))
        return any([ast.unparse(item) for item in each.elts] in (["greenlet"], ["running()"]) for each in lists)

    assert {str(module) for module in MODULES if makes_a_token(module)} == WAIT_BY_HAND


@pytest.mark.parametrize("module", [module for module in MODULES if module.parts[0] == "hub"], ids=str)
def test_core_imports_nothing_above_it_and_sync_only_green_threads(module: Path) -> None:
    below = {"core": ("core",), "sync": ("core", "sync", "greenthread")}.get(module.parts[1])
    for name in imports(tree(module), module):
        if below is not None and name.startswith("greenserve.hub."):
            assert name.split(".")[2] in below, name


def test_green_holds_twins_of_standard_modules_and_nothing_else_and_each_is_in_the_table_of_patches() -> None:
    names = {module.stem for module in MODULES if module.parts[0] == "green"} - {"__init__"}
    assert names <= sys.stdlib_module_names
    assert names == {row.module for rows in TABLE.values() for row in rows if isinstance(row, Patch)}


def test_the_public_names_are_those_that_somebody_wrote_down() -> None:
    assert set(greenserve.__all__) == PUBLIC
    assert all(hasattr(greenserve, name) for name in PUBLIC)


def test_the_version_is_said_once() -> None:
    said = [path for path in MODULES if f'"{greenserve.__version__}"' in (PACKAGE / path).read_text()]
    assert said == [Path("version.py")]


def test_every_duty_of_the_hub_names_tests_that_exist() -> None:
    """The table in docs/design.md: 38 duties, and behind each the tests that show it."""
    page = (PACKAGE.parent / "docs" / "design.md").read_text()
    table = page[page.index("## The hub's duties") :]
    rows = [line for line in table.splitlines() if line[:3].strip("| ").isdigit()]
    known = {
        name
        for path in (PACKAGE.parent / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = [set(re.findall(r"`(test_\w+)`", row)) for row in rows]
    assert len(rows) == 38
    assert set().union(*named) <= known
