"""Modules executed once more, with other modules in the place of those that they import.

Strategy: a copy gets builtins of its own, whose `__import__` answers its import statements, at its top and inside its
functions alike. Nothing global changes meanwhile; the usual alternative, to exchange entries of sys.modules during an
import, gives the wrong modules to whatever else is imported in that time, for good.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, resolve_name
from types import ModuleType
from typing import Any


class Overlay(ModuleType):
    """A module as it is, apart from some attributes."""

    def __init__(self, base: ModuleType, attributes: Mapping[str, Any]) -> None:
        super().__init__(base.__name__, base.__doc__)
        self.__dict__.update(attributes, __overlaid__=base)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["__overlaid__"], name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.__dict__["__overlaid__"])})


class Exchanged(Overlay):
    """A module as it is at present, a test's mocks included; but where an attribute is the first of its pair, it is the
    second.
    """

    def __init__(self, base: ModuleType, pairs: Mapping[str, tuple[Any, Any]]) -> None:
        super().__init__(base, {"__pairs__": pairs})

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        first, second = self.__dict__["__pairs__"].get(name, (self, self))
        return second if value is first else value


class Copies:
    """Copies of modules that import each other's copies, and substitutes.

    substitute: gives what stands in the place of the module of a name; None: nothing does. copied: whether a module
    of that name is itself copied when a copy imports it.
    """

    def __init__(
        self, substitute: Callable[[str], ModuleType | None], copied: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.modules: dict[str, ModuleType] = {}
        self._substitute = substitute
        self._copied = copied

    def get(self, name: str) -> ModuleType:
        """The copy of the module `name`, made when it is first asked for. Raises ImportError."""
        module = self.modules.get(name)
        if module is not None:
            return module
        parent, _, child = name.rpartition(".")
        if parent and self._copied(parent):
            self.get(parent)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if not hasattr(spec.loader, "source_to_code"):  # written in C, or a namespace package: nothing to execute again
            module = self.modules[name] = importlib.import_module(name)
            return module
        module = self.modules[name] = module_from_spec(spec)
        self.prepare(module)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del self.modules[name]
            raise
        if parent in self.modules:
            setattr(self.modules[parent], child, module)
        return module

    def prepare(self, module: ModuleType) -> None:
        """Give a module that is about to be executed our `__import__`."""
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self.import_}

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> ModuleType:
        """As `__import__`."""
        if level:
            package = str((globals or {}).get("__package__"))
            full = resolve_name("." * level + name, package)
        else:
            full = name
        if self._copied(full):
            return self._import_copy(full, fromlist, level)
        substitute = self._substitute(full if fromlist else full.partition(".")[0])
        if substitute is not None:
            if full != name or "." in full:
                builtins.__import__(full)
            return substitute
        return builtins.__import__(name, globals, locals, fromlist, level)

    def _import_copy(self, full: str, fromlist: Any, level: int) -> ModuleType:
        module = self.get(full)
        if not fromlist:
            return module if level else self.get(full.partition(".")[0])
        for child in fromlist:
            if child != "*" and not hasattr(module, child) and hasattr(module, "__path__"):
                self.get(f"{full}.{child}")
        return module
