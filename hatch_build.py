"""Compiles greenserve/_codec.c while a wheel is built: into the wheel, or in place where an installation is editable.

Everything works without it, so the lack of a compiler costs speed only: the wheel is then one for any machine.
GREENSERVE_COMPILED says otherwise: `yes` has the build fail where nothing can be compiled, `no` compiles nothing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

VARIABLE = "GREENSERVE_COMPILED"
SOURCE = "greenserve/_codec.c"
HOW = (
    "install a C compiler and the header files of Python (Debian and Ubuntu: apt install gcc libc6-dev python3-dev; "
    "Fedora: dnf install gcc python3-devel; Alpine: apk add gcc musl-dev python3-dev; macOS: xcode-select --install)"
)


class NotCompiled(Exception):
    """Why nothing could be compiled."""


class CustomBuildHook(BuildHookInterface[Any]):
    """hatchling finds it by pyproject.toml, and calls it once for each wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the wheel carry what came out and say for which Python and platform it is."""
        wanted = os.environ.get(VARIABLE) or "auto"
        if wanted not in ("auto", "yes", "no"):
            self.app.abort(f"greenserve: {VARIABLE} is {wanted!r}: write auto, yes or no")
        target = Path(self.root, "greenserve", f"_codec{sysconfig.get_config_var('EXT_SUFFIX')}")
        if version == "editable":
            # One that was compiled before, of another source maybe, must not outlive a build without.
            target.unlink(missing_ok=True)
        if wanted == "no":
            return
        self._directory = tempfile.TemporaryDirectory(prefix="greenserve-build-")
        try:
            compiled = compile_codec(Path(self.root), Path(self._directory.name))
        except NotCompiled as reason:
            if wanted == "yes":
                self.app.abort(f"greenserve: {VARIABLE} is yes, but the codec is not compiled: {reason}")
            self.app.display_warning(
                f"greenserve: the codec is not compiled, so it is Python's, a slower one: {reason}"
            )
            return
        if version == "editable":
            # Not written over, since processes may run the one that was there: that would crash them.
            shutil.move(compiled, target)
            return
        build_data["force_include"][str(compiled)] = f"greenserve/{target.name}"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def compile_codec(root: Path, directory: Path, *flags: str) -> Path:
    """Compile the source below `root` with `flags` into `directory`. Returns the file; raises NotCompiled."""
    if sys.implementation.name != "cpython":
        raise NotCompiled(f"{sys.implementation.name} runs the Python one faster")
    source = root / SOURCE
    # greenserve/codec.py compares it with that of the source, where it has the source.
    checksum = zlib.crc32(source.read_bytes())
    extension = Extension(
        "greenserve._codec",
        [str(source)],
        define_macros=[("CODEC_SOURCE", f"{checksum}u")],
        extra_compile_args=[*flags],
        extra_link_args=[*flags],
    )
    command = build_ext(Distribution({"name": "greenserve", "ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(directory), str(directory / "objects")
    command.ensure_finalized()
    try:
        command.run()
    except (BaseError, CCompilerError, OSError) as error:
        missing = _missing()
        raise NotCompiled(f"{missing}: {HOW}" if missing else f"compiling failed: {error}") from error
    return Path(command.get_ext_fullpath("greenserve._codec"))


def _missing() -> str | None:
    """What compiling lacks, as far as can be told."""
    if os.name == "posix":
        program = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
        if shutil.which(program) is None:
            return f"the C compiler ({program}) is missing"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return f"the header files of Python are missing ({sysconfig.get_path('include')}/Python.h)"
    return None
