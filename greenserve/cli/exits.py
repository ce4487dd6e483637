"""How the command ends: the exit codes, and the one place where an error becomes a message and a code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import click

from greenserve.errors import BindError, ConfigurationError, LoadError
from greenserve.settings import conceal


class ExitCode(IntEnum):
    """What the exit code says. 2 is also click's own code for a usage error."""

    STOPPED = 0
    FORCED = 1
    USAGE = 2
    NOT_LOADED = 3
    NOT_BOUND = 4


EXIT_CODES = {
    ExitCode.STOPPED: "stopped gracefully: every request in progress was finished",
    ExitCode.FORCED: "requests were killed, at the grace deadline or by a second signal; `check` found an error",
    ExitCode.USAGE: "an option, a variable or the settings file is wrong",
    ExitCode.NOT_LOADED: "the application could not be loaded",
    ExitCode.NOT_BOUND: "an address could not be listened on",
}

# The first that fits: a LoadError is a ConfigurationError.
_CODES: dict[type[Exception], ExitCode] = {
    LoadError: ExitCode.NOT_LOADED,
    ConfigurationError: ExitCode.USAGE,
    BindError: ExitCode.NOT_BOUND,
}


@contextmanager
def failures() -> Iterator[None]:
    """End the command with a sentence and a code where a setting, the application or an address is wrong.

    Other exceptions pass: they are defects of greenserve, and their tracebacks are wanted.
    """
    try:
        yield
    except tuple(_CODES) as error:
        # Not click.ClickException: that has one code for each class. The sentence comes last: people look there.
        if isinstance(error, LoadError) and error.details:
            click.echo(error.details.rstrip(), err=True)
        click.echo(f"greenserve: {conceal(str(error))}", err=True)
        sys.exit(next(code for kind, code in _CODES.items() if isinstance(error, kind)))
