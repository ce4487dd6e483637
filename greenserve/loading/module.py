"""From a module's name, or the path of its file, to the module that a setting names."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from greenserve.errors import LoadError
from greenserve.loading.application import Reference, import_module_of, on_path, raised


def load_module(text: str, setting: str, *, is_file: bool) -> ModuleType:
    """Import and return the module that `text`, the value of `setting`, names. Raises LoadError."""
    directory = on_path(None)
    try:
        return (
            _load_file(text, setting)
            if is_file
            else import_module_of(Reference(text, text, is_application=False), directory)
        )
    except LoadError as error:
        raise LoadError(f"{setting} = {text!r}: {error}", error.details) from error


def _load_file(path: str, setting: str) -> ModuleType:
    file = Path(path).resolve()
    if not file.is_file():
        raise LoadError(f"there is no file {file}")
    name = f"greenserve-{setting}"  # which no other module can have
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise LoadError(f"{file} is not a file of Python: its name does not end in .py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise raised(f"running {file}", error) from error
    return module
