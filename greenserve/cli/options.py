"""The command's options, one for each field of `Settings`, and nothing of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from greenserve.settings import OPTIONS, Option, Resolution, resolve

_Function = TypeVar("_Function", bound=Callable[..., Any])


def settings_options(function: _Function) -> _Function:
    """Decorate a command with --config and an option for every setting."""
    for option in reversed(OPTIONS.values()):
        function = _click_option(option)(function)
    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        help="Read this TOML file instead of greenserve.toml or [tool.greenserve] in pyproject.toml here.",
    )(function)


def resolve_options(
    context: click.Context, environ: Mapping[str, str] = os.environ, more: Mapping[str, str] | None = None
) -> Resolution:
    """Resolve the settings from what was given on the command line (and `more`), the environment and the file found
    here.
    """
    return resolve(given_options(context) | dict(more or {}), environ, Path.cwd(), context.params.get("config"))


def given_options(context: click.Context) -> dict[str, Any]:
    """The options that were given on the command line, unparsed, by name."""
    return {
        name: value
        for name, value in context.params.items()
        if name in OPTIONS and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def _click_option(option: Option) -> Callable[[_Function], _Function]:
    # click neither parses nor reads the environment: one parser serves all sources, so that their errors are alike.
    text = f"{option.help} [default: {option.kind.show(option.default)}]"
    if option.kind.is_flag:
        negative = "--no-" + option.flag.removeprefix("--")
        return click.option(f"{option.flag}/{negative}", option.name, default=None, help=text)
    names = [name for name in (option.short, option.flag) if name]
    return click.option(
        *names,
        option.name,
        type=str,
        multiple=option.kind.is_list,
        metavar=option.kind.metavar,
        help=text,
    )
