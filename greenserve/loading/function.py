"""From the text `module:function` to a function that a setting names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenserve.errors import LoadError
from greenserve.loading.application import Reference, find, import_module_of, on_path


def load_function(text: str, setting: str) -> Callable[..., Any]:
    """Import and return the function that `text`, the value of `setting`, names. Raises LoadError."""
    module, _, name = text.partition(":")
    reference = Reference(text, module, tuple(name.split(".")), is_application=False)
    directory = on_path(None)
    try:
        target = find(reference, import_module_of(reference, directory), directory)
    except LoadError as error:
        raise LoadError(f"{setting} = {text!r}: {error}", error.details) from error
    if not callable(target):
        raise LoadError(f"{setting} = {text!r}: it is of type {type(target).__name__}, not a function")
    return target
