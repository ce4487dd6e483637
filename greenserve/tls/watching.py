"""Noticing that files have changed, by looking at them once a second.

cert-manager and Kubernetes swap a symbolic link, certbot renames, others write in place, the certificate first and the
key some moments later. So a change counts once nothing has changed for a whole look.
"""

from __future__ import annotations

from collections.abc import Iterable

from greenserve.tls.certificates import stamp_of


class FileWatch:
    """Tells once of each change of some files."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(dict.fromkeys(paths))
        self._told = self._seen = self._look()

    def has_changed(self) -> bool:
        """Whether the files differ from those at the last True (or the beginning), and are as at the last call."""
        before, self._seen = self._seen, self._look()
        if self._seen == self._told or self._seen != before:
            return False
        self._told = self._seen
        return True

    def _look(self) -> tuple[object, ...]:
        return tuple(map(stamp_of, self._paths))
