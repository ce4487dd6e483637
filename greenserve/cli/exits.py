"""How the command ends: the exit codes, and the one place where an error becomes a message and a code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NoReturn

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


@contextmanager
def failures() -> Iterator[None]:
    """End the command with a sentence and a code where a setting, the application or an address is wrong.

    All else passes: it is a defect of ours, and its traceback is wanted.
    """
    try:
        yield
    except LoadError as error:
        _end(str(error), ExitCode.NOT_LOADED, error.details)
    except ConfigurationError as error:
        _end(str(error), ExitCode.USAGE)
    except BindError as error:
        _end(str(error), ExitCode.NOT_BOUND)


def _end(message: str, code: ExitCode, details: str = "") -> NoReturn:
    # Not click.ClickException: that has one code for each class. The sentence comes last: that is where people look.
    if details:
        click.echo(details.rstrip(), err=True)
    click.echo(f"greenserve: {conceal(message)}", err=True)
    sys.exit(code)
