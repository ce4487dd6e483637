"""Modules imported afresh over green ones: `import_patched("ftplib")`, and `import greenserve.green.urllib.request`.

Strategy of the second way: a finder that knows the names below `greenserve.green` for which there is no file, and no
others. Files would do as well: thirty of them, each with the same line.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from greenserve.patching.import_hooks import Loader
from greenserve.patching.reimport import Copies
from greenserve.patching.table import TABLE, Patch

COPIED = frozenset({"http", "urllib", "xmlrpc", "wsgiref", "concurrent", "socketserver", "asyncore", "asynchat"}) | {
    *("ftplib", "smtplib", "poplib", "imaplib", "nntplib", "telnetlib"),
}
"""Packages and modules of the standard library that need no twin: imported afresh over the twins they are green."""

_TWINS = frozenset(patch.module for patches in TABLE.values() for patch in patches if isinstance(patch, Patch))


def import_patched(name: str) -> ModuleType:
    """The module `name`, imported afresh over green modules, without patching anything else.

    What it imports is afresh too: the standard library's network modules, and whatever is not the standard library's.
    The same object each time.

    >>> import http.client
    >>> green = greenserve.import_patched("http.client")
    >>> green.HTTPConnection is http.client.HTTPConnection, green is greenserve.import_patched("http.client")
    (False, True)
    """
    return copies.get(name)


def _twin(name: str) -> ModuleType | None:
    return importlib.import_module(f"greenserve.green.{name}") if name in _TWINS else None


def _is_copied(name: str) -> bool:
    package = name.partition(".")[0]
    return package in COPIED or (package not in sys.stdlib_module_names and package not in ("greenserve", "greenlet"))


copies = Copies(_twin, _is_copied)


class _Finder(Loader):
    """Finds `greenserve.green.NAME` for the modules of COPIED, and what is in these."""

    PREFIX = "greenserve.green."

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for a module that exists in the standard library."""
        name = fullname.removeprefix(self.PREFIX)
        if name == fullname or name.partition(".")[0] not in COPIED:
            return None
        spec = importlib.util.find_spec(name)
        is_package = spec is not None and spec.submodule_search_locations is not None
        return None if spec is None else ModuleSpec(fullname, self, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        """Leave the copy under this name, too: it keeps its own, by which it imports its siblings."""
        sys.modules[module.__name__] = copies.get(module.__name__.removeprefix(self.PREFIX))


# First: a copied package has its original's directory, where the ordinary finder would find the original's modules.
sys.meta_path.insert(0, _Finder())
