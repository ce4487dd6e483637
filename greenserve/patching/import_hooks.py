"""Being there when a module is imported: a finder that gives chosen modules their ordinary loader, and looks on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader
else:  # which on Python 3.11 brings a tenth of all that the command imports

    class Loader:
        """What a loader inherits that leaves the making of the module to the interpreter."""

        def create_module(self, spec: ModuleSpec) -> ModuleType | None:
            """None: an ordinary one."""


__all__ = ["ImportHook", "Loader", "adapt"]


class ImportHook:
    """Has `execute(loader, module)` execute each module whose name is `wanted`, in the place of its loader."""

    def __init__(self, wanted: Callable[[str], bool], execute: Callable[[Loader, ModuleType], None]) -> None:
        self._wanted = wanted
        self._execute = execute

    def install(self) -> None:
        """From now on; twice is harmless."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the finders behind this one have, with our loader."""
        if not self._wanted(fullname):
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self._execute)
                return spec
        return None


class _Loader(Loader):
    """The ordinary loader, except for the execution."""

    def __init__(self, loader: Loader, execute: Callable[[Loader, ModuleType], None]) -> None:
        self._loader = loader
        self._execute = execute

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the ordinary one."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it to the hook."""
        self._execute(self._loader, module)

    def __getattr__(self, name: str) -> Any:  # get_source and its like, for tracebacks
        return getattr(self._loader, name)


_adapters: dict[str, Callable[[Any], None]] = {}


def adapt(module: str, adapter: Callable[[Any], None]) -> None:
    """Call `adapter` with a module now, or when it is imported."""
    _adapters[module] = adapter
    present = sys.modules.get(module)
    if present is not None:
        adapter(present)
    _hook.install()


def _execute_and_adapt(loader: Loader, module: ModuleType) -> None:
    loader.exec_module(module)
    _adapters[module.__name__](module)


_hook = ImportHook(_adapters.__contains__, _execute_and_adapt)
