"""Running a program patched from its first line, as `python program.py` and `python -m module` would run it.

Strategy: the program becomes the module `__main__` for the rest of the process, as the interpreter's own start does;
runpy's would end with its last line, while threads and exit handlers of the program may outlive that. A traceback shows
the program's frames alone.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from greenserve.patching.monkey import monkey_patch

USAGE = "(program.py | -m module) [arguments]"
NO_FILE = 2  # exit codes: the interpreter's own
NO_MODULE = 1


class NoProgram(Exception):
    """There is nothing to run. code: the exit status that the interpreter has for it."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def run(arguments: Sequence[str]) -> None:
    """Run `program.py [arguments]` or `-m module [arguments]`, patched, until its end; its exit is this process's.

    Raises NoProgram when there is no such program, SystemExit as the program does, and for an error of the program, of
    which the traceback is printed.
    """
    if len(arguments) >= 2 and arguments[0] == "-m":
        _as_program(run_module, arguments[1], arguments[2:])
    elif arguments and (not arguments[0].startswith("-") or Path(arguments[0]).exists()):
        _as_program(run_script, arguments[0], arguments[1:])
    else:
        raise NoProgram(f"what to run? {USAGE}", NO_FILE)


def run_script(path: str, arguments: Sequence[str] = ()) -> None:
    """Run a program's file as `python path arguments...` does, patched from its first line.

    A directory, or a zip file, with a `__main__.py` will do, too. Raises NoProgram, and what the program raises.
    """
    file = Path(path)
    if file.is_dir() or _is_archive(file):
        sys.path[0] = path
        _begin([path, *arguments])
        runpy.run_path(path, run_name="__main__")
        return
    full = str(file.absolute())
    try:
        # The encoding is declared in the source (PEP 263), so that compile sees bytes.
        with io.open_code(full) as stream:
            source = stream.read()
    except OSError as error:
        raise NoProgram(f"cannot open {path!r}: {error.strerror}", NO_FILE) from None
    sys.path[0] = str(file.resolve().parent)
    _begin([path, *arguments])
    loader = importlib.machinery.SourceFileLoader("__main__", full)
    _execute(compile(source, full, "exec", dont_inherit=True), __file__=full, __loader__=loader)


def run_module(name: str, arguments: Sequence[str] = ()) -> None:
    """Run a module, or a package's `__main__`, as `python -m name arguments...` does, patched from its first line.

    Raises NoProgram, what the module raises.
    """
    sys.path[0] = str(Path.cwd())
    _begin(["-m", *arguments])
    spec = _spec(name)
    if spec.submodule_search_locations is not None:
        spec = _spec(f"{name}.__main__")
    loader = spec.loader
    get_code: Callable[[str], CodeType | None] | None = getattr(loader, "get_code", None)
    code = None if get_code is None else get_code(spec.name)
    if code is None:
        raise NoProgram(f"the module {name!r} is not written in Python, so it cannot be run", NO_MODULE)
    sys.argv[0] = str(spec.origin)
    _execute(
        code,
        __file__=spec.origin,
        __cached__=spec.cached,
        __loader__=loader,
        __package__=spec.parent,
        __spec__=spec,
    )


def _begin(argv: list[str]) -> None:
    sys.argv[:] = argv
    monkey_patch()


def _is_archive(file: Path) -> bool:
    """Whether the import system reads it as a place of modules."""
    if not file.is_file():
        return False
    import zipfile  # noqa: PLC0415 - for this rare case alone, after the check of what costs nothing

    return file.suffix != ".py" and zipfile.is_zipfile(file)


def _spec(name: str) -> importlib.machinery.ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        raise NoProgram(f"no module named {error.name!r}, so {name!r} cannot be run", NO_MODULE) from None
    except ValueError:  # it is loaded already, and has no spec
        spec = None
    if spec is None:
        raise NoProgram(f"no module named {name!r} in {Path.cwd()} or the installed packages", NO_MODULE)
    return spec


def _execute(code: CodeType, **attributes: Any) -> None:
    module: Any = ModuleType("__main__")
    module.__dict__.update({"__builtins__": __builtins__, "__package__": None, "__spec__": None, **attributes})
    sys.modules["__main__"] = module
    exec(code, module.__dict__)  # noqa: S102 - it is what the user asks for


def _as_program(runner: Callable[[str, Sequence[str]], None], name: str, arguments: Sequence[str]) -> None:
    """Run it so that it ends as it would under the interpreter."""
    try:
        runner(name, arguments)
    except (SystemExit, NoProgram):
        raise
    except BaseException as error:
        error.__traceback__ = _of_the_program(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):  # so that a shell's loop ends, too (see signal(7), and bash's manual)
            sys.stderr.flush()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        raise SystemExit(1) from None


def _of_the_program(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without our frames at its top."""
    ours = {__file__, runpy.__file__, "<frozen runpy>"}
    while traceback is not None and traceback.tb_frame.f_code.co_filename in ours:
        traceback = traceback.tb_next
    return traceback


def main(arguments: Sequence[str]) -> int:
    """`python -m greenserve.monkey program.py`. Returns the exit code."""
    try:
        run(arguments)
    except NoProgram as error:
        sys.stderr.write(f"python -m greenserve.monkey: {error}\n")
        return error.code
    return 0
