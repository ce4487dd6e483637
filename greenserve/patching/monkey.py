"""Monkey-patching: the standard library's blocking modules made green in place, so that ordinary code is concurrent.

table.py says what replaces what. `monkey_patch` should be the program's first act: a module that has imported an
original by name before keeps it, and is named in a warning. `greenserve run program.py` does it for a program (run.py).
"""

from __future__ import annotations

import importlib
import sys
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from greenserve.errors import ConfigurationError
from greenserve.hub.core.hub import current_hub
from greenserve.patching import early_imports, existing_locks, import_patched, originals, other_hubs
from greenserve.patching.import_hooks import adapt
from greenserve.patching.table import TABLE, Adapter, Patch

_adapted: set[str] = set()
"""The modules that are, or will be, adapted."""


@dataclass(slots=True)
class Report:
    """What `monkey_patch` has found. early: packages that had been imported before it, and are not the standard
    library's; held: what still refers to an original, as "module.attribute (name)".
    """

    early: tuple[str, ...] = ()
    held: tuple[str, ...] = ()


report = Report()
real_locks = existing_locks.original_locks  # its former name


class LatePatchWarning(RuntimeWarning):
    """Something had imported original primitives before they were patched, and still uses them."""


class NotPatchedWarning(RuntimeWarning):
    """A server starts in a program that has made nothing green: its requests will wait for each other."""


def monkey_patch(**which: bool) -> None:
    """Make the standard library's blocking calls green, in this whole process.

    which: names of TABLE. None given: all. Some True: these alone. Some False: all but these. `all` stands for the
    rest. Twice is harmless. Locks that exist already are made green where that is possible; warns (LatePatchWarning)
    of what holds something that has just been replaced. From then on Eventlet's and gevent's own patching is without
    effect (other_hubs.py). Raises ConfigurationError for a name that is not in TABLE, and when one of them has patched
    this process already.

    >>> greenserve.monkey_patch()
    >>> import time
    >>> thread = greenserve.spawn(time.sleep, 60)
    >>> time.sleep(0.01)  # the other one sleeps meanwhile
    >>> greenserve.is_monkey_patched("time"), thread.dead
    (True, False)
    """
    groups = [group for group in _chosen(which) if not is_monkey_patched(group)]
    other_hubs.disarm()
    patches = [patch for group in groups for patch in TABLE[group] if isinstance(patch, Patch)]
    if not originals.replaced:
        report.early = _foreign_packages()
    # All twins first: they are made of the originals.
    twins = {patch.module: importlib.import_module(f"greenserve.green.{patch.module}") for patch in patches}
    replaced: dict[int, tuple[str, Any]] = {}
    for patch in patches:
        replaced |= _apply(patch, importlib.import_module(patch.module), twins[patch.module])
    for adapter in [each for group in groups for each in TABLE[group] if isinstance(each, Adapter)]:
        _adapted.add(adapter.module)
        adapt(adapter.module, adapter.adapt)
    if not replaced:
        return
    originals.keep_originals()
    current_hub()  # made now, its descriptors do not take a number that the program has just closed, and asks about
    held = existing_locks.upgrade_locks() if "thread" in groups else []
    held += early_imports.upgrade_holders(replaced)
    report.held += tuple(sorted(held))
    if held:
        warnings.warn(
            "patched too late for these, which stay blocking: "
            + ", ".join(sorted(held))
            + "; call greenserve.monkey_patch() before they are imported",
            LatePatchWarning,
            stacklevel=2,
        )


_OURS = frozenset(
    {"greenserve", "greenlet", "h11", "click", "websockets", "wsproto", "__main__", "sitecustomize", "usercustomize"}
)
"""What is imported before a patch by the patch itself, by the command, or by the interpreter's start."""


def _foreign_packages() -> tuple[str, ...]:
    names = {name.partition(".")[0] for name in list(sys.modules)}
    return tuple(
        sorted(name for name in names - sys.stdlib_module_names - _OURS if not name.startswith(("_", "distutils")))
    )


def _chosen(which: dict[str, bool]) -> list[str]:
    unknown = sorted(which.keys() - TABLE.keys() - {"all"})
    if unknown:
        raise ConfigurationError(
            f"monkey_patch does not know {', '.join(unknown)}; it knows {', '.join(sorted(TABLE))} and all"
        )
    rest = which.get("all", not any(which.values()))
    return [group for group in TABLE if which.get(group, rest)]


def _apply(patch: Patch, module: ModuleType, twin: ModuleType) -> dict[int, tuple[str, Any]]:
    """Replace, and return the identities of what was replaced, with their names and successors."""
    pairs = originals.replaced.setdefault(patch.module, {})
    replaced: dict[int, tuple[str, Any]] = {}
    for name in patch.names.split():
        owner, _, attribute = name.rpartition(".")
        holder: Any = getattr(module, owner) if owner else module
        original = getattr(holder, attribute, None)
        # Not getattr of the twin, which answers from a copy of the original module what it has not.
        green = vars(vars(twin)[owner] if owner else twin).get(attribute)
        if name in pairs or original is None or green is None or green is original:
            continue
        pairs[name] = green, original
        setattr(holder, attribute, green)
        replaced.setdefault(id(original), (f"{patch.module}.{name}", green))
    return replaced


def is_monkey_patched(name: str) -> bool:
    """Whether a group of TABLE, or a module that one of them patches, is patched.

    >>> greenserve.is_monkey_patched("socket")
    False
    """
    modules = [patch.module for patch in TABLE.get(name, ())] or [name]
    return all(module in originals.replaced or module in _adapted for module in modules)


def is_in_use() -> bool:
    """Whether this program has made anything green: some of TABLE, or modules of its own by `import_patched`."""
    return bool(originals.replaced or _adapted or import_patched.copies.modules)


def users_level() -> int:
    """The `stacklevel` with which the caller's warning names the innermost line that is not greenserve's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "greenserve":
        level, frame = level + 1, frame.f_back
    return level
