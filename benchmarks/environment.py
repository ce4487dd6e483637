"""The virtual environment of the comparison, apart from every other one, and the facts of the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALL_SECONDS = 600  # a peer in C compiles within this on a slow machine

VERSIONS = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""

CODEC = "from greenserve.codec import compiled; print('compiled' if compiled else 'python')"


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment that exists."""

    path: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.path / "bin" / "python")

    def versions(self, packages: Iterable[str]) -> dict[str, str]:
        """The installed version of each package that is installed."""
        names = [package_name(package) for package in packages]
        ran = subprocess.run([self.python, "-c", VERSIONS, *names], capture_output=True, text=True, check=True)
        found: dict[str, str] = json.loads(ran.stdout)
        return found

    def install(self, *requirements: str) -> str | None:
        """Install with pip; None when that worked, otherwise why not, in one line."""
        command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"pip took longer than {INSTALL_SECONDS} s"
        return None if ran.returncode == 0 else pip_reason(ran.stdout + ran.stderr)

    def provide(self, packages: tuple[str, ...]) -> str | None:
        """Have these packages installed; None when they are, otherwise why not."""
        present = self.versions(packages)
        absent = [package for package in packages if package_name(package) not in present]
        return self.install(*absent) if absent else None

    def compile(self, source: Path) -> str | None:
        """The program of one C file among the environment's own; None when it is there, otherwise why not."""
        compiler = shutil.which("cc")
        if compiler is None:
            return "needs a C compiler (Debian: apt-get install gcc)"
        command = [compiler, "-O2", "-o", str(self.path / "bin" / source.stem), str(source)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        return None if ran.returncode == 0 else pip_reason(ran.stdout + ran.stderr)

    def codec(self) -> str:
        """Which codec the installed greenserve uses: `compiled` or `python`."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GREENSERVE_")}
        command = [self.python, "-P", "-c", CODEC]  # -P: what is installed, also where the checkout is at hand
        ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        return ran.stdout.strip() or "unknown"

    def provide_checkout(self) -> str | None:
        """Install greenserve from the checkout, as a user's pip would: a copy, not a link. None, or why not."""
        if not (ROOT / "pyproject.toml").exists():
            return "the checkout has no pyproject.toml"
        return self.install(str(ROOT)) or self.install("--force-reinstall", "--no-deps", str(ROOT))


def environment(path: Path) -> Environment:
    """The environment at `path`, made when it does not exist."""
    if not (path / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
    return Environment(path.absolute())  # its interpreter is started in other directories too


def package_name(requirement: str) -> str:
    """`setuptools<81` -> `setuptools`."""
    return re.split(r"[<>=!~ \[]", requirement, maxsplit=1)[0]


def pip_reason(output: str) -> str:
    """The line of pip's output that says why: a compiler's error before pip's own last word."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for sign in ("fatal error:", "error: command", "No such file or directory", "ERROR:", "error:"):
        for line in lines:
            if sign in line:
                return line[:200]
    return lines[-1][:200] if lines else "pip failed without a word"


def machine() -> dict[str, object]:
    """What the numbers depend on: processor, cores, memory, kernel, Python, wrk."""
    return {
        "cpu": _first(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo")) or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(_first(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo")) or 0) // 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "wrk": wrk_version(),
    }


def wrk_version() -> str:
    """The first words of `wrk -v`, or an empty string where there is no wrk."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return ""
    said = subprocess.run([wrk, "-v"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2])


def _first(pattern: str, path: Path) -> str | None:
    if not path.exists():
        return None
    found = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None
