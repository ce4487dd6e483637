"""Where the code of a loaded application has come from: what is to be watched beside the working directory."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

_INSTALLED = frozenset(("site-packages", "dist-packages"))
_STANDARD = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
_OWN = str(Path(__file__).parents[1])


def sources(modules: Mapping[str, ModuleType], error: BaseException | None = None) -> tuple[list[str], list[str]]:
    """Directories of packages, and files of modules outside packages; neither of the standard library nor installed.

    error: by which the application could not be loaded; the files that it leads through are among these.
    """
    directories, files = set(), set()
    for name, module in modules.items():
        file = _file(module)
        if file is None or not _is_of_user(file):
            continue
        package = name.partition(".")[0]
        # A package without __init__.py has no file: its modules' files tell where it is.
        root = _root(file, name) if package != name or Path(file).stem == "__init__" else None
        if root is not None:
            directories.add(root)
        else:
            files.add(file)
    files.update(file for file in _of_error(error) if _is_of_user(file))
    return sorted(directories), sorted(files)


def _file(module: ModuleType) -> str | None:
    try:
        file = module.__file__
    except Exception:  # some modules compute their attributes
        return None
    return str(Path(file).absolute()) if isinstance(file, str) else None


def _root(file: str, name: str) -> str | None:
    """The directory of the outermost package of a module; None if its name does not fit its file."""
    path = Path(file)
    parts = name.split(".")
    inner = parts if path.stem == "__init__" else parts[:-1]
    parents = path.parents
    if len(parents) <= len(inner) or [each.name for each in parents[: len(inner)]] != inner[::-1]:
        return None
    return str(parents[len(inner) - 1])


def _is_of_user(file: str) -> bool:
    if not _INSTALLED.isdisjoint(Path(file).parts):
        return False
    return file.endswith(".py") and not any(file.startswith(f"{each}/") for each in (*_STANDARD, _OWN))


def _of_error(error: BaseException | None) -> Iterator[str]:
    for each in _chain(error):
        yield from (frame.filename for frame in traceback.extract_tb(each.__traceback__))
        if isinstance(each, SyntaxError) and each.filename:
            yield str(Path(each.filename).absolute())


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
