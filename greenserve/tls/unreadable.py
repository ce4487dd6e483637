"""Server names that are not ASCII.

`ssl` ends such a handshake by itself, before it calls anything, and prints a traceback as for an error in a finaliser.
A client's mistake must not fill the log: the failed handshake is one line of it already.
"""

from __future__ import annotations

import sys
from typing import Any


def keep_quiet() -> None:
    """Have these tracebacks not printed; what else comes to sys.unraisablehook goes on to the one before."""
    before: Any = sys.unraisablehook
    if getattr(before, "is_ours", False):
        return

    def hook(unraisable: Any) -> None:
        # The object is the name, in the one place where CPython reports one: Modules/_ssl.c, _servername_callback.
        if not (isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes)):
            before(unraisable)

    hook.is_ours = True  # type: ignore[attr-defined]  # so that it is put there once
    sys.unraisablehook = hook
