"""What every green twin needs to look like the module that it stands for.

Strategy: a twin defines what is green and takes everything else from the original module as it is. Where the standard
library's own Python code would be right if only its globals were green ones, the function is built again over the
twin's globals, so that its behaviour is that of the interpreter at hand, whichever version that is, and nothing is
copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any


def complete(twin: dict[str, Any], original: ModuleType, rebound: Iterable[str] = ()) -> Callable[[str], Any]:
    """Fill a twin's globals with what it does not define itself. Returns the twin's `__getattr__`.

    rebound: names of functions in `original` to build again over the twin's globals; those this interpreter lacks are
    skipped.
    """
    for name in rebound:
        function = getattr(original, name, None)
        if isinstance(function, FunctionType) and name not in twin:
            twin[name] = rebind(function, twin)
    for name, value in vars(original).items():
        if not (name.startswith("__") and name.endswith("__")):
            twin.setdefault(name, value)
    twin.setdefault("__all__", [name for name in getattr(original, "__all__", vars(original)) if name[0] != "_"])

    def of_real(name: str) -> Any:
        """What the original module has been given since; and the reason why type checkers accept every name."""
        return getattr(original, name)

    return of_real


def rebind(function: FunctionType, twin: dict[str, Any]) -> FunctionType:
    """The same function, looking up its globals in `twin`."""
    copy = FunctionType(function.__code__, twin, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__doc__ = function.__doc__
    copy.__annotations__ = function.__annotations__
    copy.__qualname__ = function.__qualname__
    copy.__module__ = twin["__name__"]
    return copy
