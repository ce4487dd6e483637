"""Prints docs/settings.md from the fields of `Settings`: `python tools/settings_reference.py > docs/settings.md`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from greenserve.settings import OPTIONS, Option, Source, instead
from greenserve.settings.other_servers import WORDS

INTRODUCTION = """\
# Settings

This page is generated from `greenserve/settings/model.py` by `make docs`.

The value of an option comes from the first of these that has one:

1. the command line: `--max-body 10M`
2. the environment: `GREENSERVE_MAX_BODY=10M`
3. a TOML file: `max_body = "10M"` (or `max-body`) in `greenserve.toml`, or else in the table `[tool.greenserve]` of
   `pyproject.toml`, in the directory where the command is started; or instead of these the file that `--config` or
   `GREENSERVE_CONFIG` names
4. the default

`greenserve check APP` prints every value and where it came from. An unknown key in the file is an error that names the
nearest known one; an unknown `GREENSERVE_` variable is only a warning, because other programs use the environment too.

A program gives the same options as keywords: `greenserve.serve(app, max_body="10M")`. It reads neither the environment
nor a file, and has no options marked *command only* or *with several workers*.

One more variable counts before any source is read, and for programs, too: `GREENSERVE_CODEC` chooses
[the codec](deploy.md#the-compiled-codec).
"""


ELSEWHERE = """\
## Options of other servers

What gunicorn, uvicorn, hypercorn, granian, waitress and uWSGI have, and what to write here. The command says the same
when it is given one of these; so do the settings file, a `GREENSERVE_` variable and a keyword.
"""


def render() -> str:
    parts = [INTRODUCTION]
    parts.extend(_section(option) for option in OPTIONS.values())
    parts.append(_elsewhere())
    return "\n".join(parts)


def _elsewhere() -> str:
    names: dict[str, list[str]] = {}
    for name in WORDS:
        text = instead(name, Source.COMMAND_LINE)
        assert text is not None
        names.setdefault(text, []).append(f"`-{name}`" if len(name) == 1 else f"`--{name.replace('_', '-')}`")
    rows = [f"| {', '.join(theirs)} | {text} |" for text, theirs in names.items()]
    return "\n".join([ELSEWHERE, "| elsewhere | here |", "|---|---|", *rows, ""])


def _section(option: Option) -> str:
    unit = f" {option.unit}" if option.unit and option.default is not None else ""
    flag = option.flag
    usage = f"`{flag}`, `--no-{flag[2:]}`" if option.kind.is_flag else f"`{flag} {option.kind.metavar}`"
    if option.short:
        usage += f" (or `{option.short}`)"
    lines = [
        f"## {option.name}",
        "",
        f"{option.help} *With several workers.*"
        if option.supervised
        else option.help
        if option.in_call
        else f"{option.help} *Command only.*",
        "",
        f"- command line: {usage}",
        f"- environment: `{option.variable}`",
        f"- default: `{option.kind.show(option.default)}`{unit if not option.kind.is_flag else ''}",
        f"- accepted: {option.kind.form}",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(render())
