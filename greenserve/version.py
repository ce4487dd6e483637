"""The version, in one place: the build reads it from here, and so does everything that prints it.

It is a module of its own, not a line of `__init__`, so that no inner module has to import the package's root.
"""

from __future__ import annotations

VERSION = "0.1.0"
