"""What a user may have meant instead: the applications in a module, in a file, in a directory.

Nothing is imported: what an import would do is unknown here. A file's syntax tree tells enough for a hint.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

DEFAULT_ATTRIBUTES = ("application", "app")

# Functions and classes of frameworks, by the last part of their names, that make an application.
_MAKES_WSGI = frozenset(
    {
        *("Flask", "Bottle", "default_app", "get_wsgi_application", "make_wsgi_app", "WSGIApplication"),
        *("App", "API", "CherryPyWSGIApp", "wsgifunc", "ASGIMiddleware", "handler"),
    }
)
_MAKES_ASGI = frozenset(
    {
        *("FastAPI", "Starlette", "Quart", "Litestar", "Sanic", "BlackSheep", "get_asgi_application"),
        *("ProtocolTypeRouter", "WSGIMiddleware", "WsgiToAsgi", "AsyncApp"),
    }
)
_LARGEST_FILE = 1_000_000  # bytes; a file that is read for a hint
_MOST_FILES = 100


def in_module(module: ModuleType) -> list[str]:
    """The names of what looks like a WSGI application in an imported module, except functions it imports."""
    named = [(name, value) for name, value in vars(module).items() if not name.startswith("_")]
    return [name for name, value in named if _looks_like_wsgi(value, module)]


def in_file(path: Path, *, asgi: bool = False) -> list[str]:
    """The names of the applications that a file of Python defines at its top level; the default ones come first.

    asgi: whether ASGI applications are wanted, too.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return []
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    names = {name for statement in tree.body for name in _defined(statement, asgi=asgi)}
    return sorted(names, key=lambda name: (name not in DEFAULT_ATTRIBUTES, DEFAULT_ATTRIBUTES[0] != name, name))


def in_directory(directory: Path, package: str = "") -> list[str]:
    """References to the applications in a directory's files, and in the packages in it: `mysite.wsgi`, `shop:site`.

    package: the name of the package whose directory it is; "" for one that is on sys.path.
    """
    prefix = f"{package}." if package else ""
    found: list[tuple[bool, str]] = []
    for file in _files(directory):
        names = in_file(file)
        if names:
            parts = file.relative_to(directory).with_suffix("").parts
            module = prefix + ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found += [(parts[-1] != "wsgi", f"{module.rstrip('.')}:{name}") for name in names[:3]]
    return [text for _, text in sorted(found)]


def any_of(references: list[str]) -> str:
    """For the end of a hint: `a`, `a or b`, `a, b or c`."""
    *first, last = references[:5]
    return f"{', '.join(first)} or {last}" if first else last


def is_asgi(target: object) -> bool:
    """Whether it is an ASGI application: a coroutine function, or a callable of scope, receive and send.

    ASGI 2 has a callable of scope that returns a coroutine function.
    """
    call = getattr(type(target), "__call__", None)  # noqa: B004 - what the call runs, not whether there is one
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(call):
        return True
    try:
        parameters = list(inspect.signature(target).parameters)  # type: ignore[arg-type]  # it is callable
    except (TypeError, ValueError):
        return False
    return parameters[:1] == ["scope"] or {"receive", "send"} <= set(parameters)


def _looks_like_wsgi(value: object, module: ModuleType) -> bool:
    if isinstance(value, ModuleType) or inspect.isclass(value) or not callable(value) or is_asgi(value):
        return False
    if inspect.isroutine(value) and getattr(value, "__module__", None) != module.__name__:
        return False
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [
        each.name for each in parameters if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    return len(needed) == 2 and (needed[1].startswith("start") or needed[0].startswith("env"))


def _defined(statement: ast.stmt, *, asgi: bool) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef) or (asgi and isinstance(statement, ast.AsyncFunctionDef)):
        second = [each.arg for each in statement.args.args][1:2]
        if statement.name in DEFAULT_ATTRIBUTES or second == ["start_response"]:
            yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        maker = _called(statement.value)
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if asgi or maker not in _MAKES_ASGI:
            makers = _MAKES_WSGI | _MAKES_ASGI
            yield from (name for name in names if name in DEFAULT_ATTRIBUTES or maker in makers)
    elif isinstance(statement, ast.ImportFrom):
        yield from (name for each in statement.names if (name := each.asname or each.name) in DEFAULT_ATTRIBUTES)


def _called(value: ast.expr) -> str:
    """The last part of the name of what an expression calls; "" when it is not a call."""
    return ast.unparse(value.func).rpartition(".")[2] if isinstance(value, ast.Call) else ""


def _files(directory: Path) -> Iterator[Path]:
    """The Python files of a directory and of the packages in it, except tests and hidden ones."""
    found = [*sorted(directory.glob("*.py")), *sorted(directory.glob("*/*.py"))]
    for file in found[:_MOST_FILES]:
        inner = file.relative_to(directory).parts
        if not any(part.startswith((".", "test")) for part in inner):
            yield file
