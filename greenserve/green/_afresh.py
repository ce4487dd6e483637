"""`import greenserve.green.urllib.request`: a module of the standard library that is green because what it imports is.

Strategy: a finder that knows the names below `greenserve.green` for which there is no file, and no others. Files would
do as well: thirty of them, each with the same line.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class Afresh(MetaPathFinder, Loader):
    """Finds `package`.NAME for the modules NAME, and what is in these, and has `make(NAME)` make them."""

    def __init__(self, package: str, names: frozenset[str], make: Callable[[str], ModuleType]) -> None:
        self._prefix = package + "."
        self._names = names
        self._make = make

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for a module that exists in the standard library."""
        name = fullname.removeprefix(self._prefix)
        if name == fullname or name.partition(".")[0] not in self._names:
            return None
        real = importlib.util.find_spec(name)
        return (
            None if real is None else ModuleSpec(fullname, self, is_package=real.submodule_search_locations is not None)
        )

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module that is made under this name, too: it keeps its own, by which it imports its siblings."""
        sys.modules[module.__name__] = self._make(module.__name__.removeprefix(self._prefix))
