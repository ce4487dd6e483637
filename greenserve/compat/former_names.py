"""Modules that have moved, under the names by which programs may still import them.

Strategy: a finder behind all others, which is asked for what the others do not find. The former name gives the module
itself, so both names have the same objects.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from greenserve.patching.import_hooks import Loader

MOVED = {
    "greenserve.green.dns": "greenserve.hub.resolver",
    "greenserve.green.monkey": "greenserve.patching.monkey",
    "greenserve.green.net": "greenserve.net",
    "greenserve.green.streamserver": "greenserve.net.streamserver",
    "greenserve.hub.hub": "greenserve.hub.core.hub",
    "greenserve.wsgi.input": "greenserve.wsgi.body_reader",
}


class _Finder(Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for a former name."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Leave the moved module in the new one's place: that is what an import statement then gives."""
        sys.modules[module.__name__] = importlib.import_module(MOVED[module.__name__])


sys.meta_path.append(_Finder())
