"""`python -m greenserve` is the same command as `greenserve`."""

from __future__ import annotations

from greenserve.cli import main

if __name__ == "__main__":
    main()
