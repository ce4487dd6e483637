"""The commands: `serve` (the default), `demo`, `check`, `health`, `reload`, `stop`, `ps` and `run`.

Strategy: what `serve` can do without is imported inside the other commands, so that a server starts sooner.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from json import dumps
from pathlib import Path
from typing import Any, NoReturn

import click

from greenserve import codec, tls
from greenserve.cli.exits import EXIT_CODES, ExitCode, failures
from greenserve.cli.logs import detach_streams
from greenserve.cli.options import given_options, resolve_options, settings_options
from greenserve.cli.startup import prepare, serve, warn, without_arguments
from greenserve.errors import ConfigurationError
from greenserve.loading import FORMS
from greenserve.settings import Source, conceal, instead
from greenserve.version import VERSION
from greenserve.workers.failures import early_failures_told

DEMO = "greenserve.demo:application"

_EPILOG = (
    "\b\nExit codes:\n"
    + "\n".join(f"  {code.value}  {meaning}" for code, meaning in EXIT_CODES.items())
    + "\n\nEvery option is also a variable (--max-body is GREENSERVE_MAX_BODY) and a key of the TOML file. The command "
    "line wins over the environment, and the environment over the file. `greenserve check APP` shows where each value "
    "came from."
)


class DefaultCommand(click.Group):
    """A group for which arguments that begin with none of its commands are those of `serve`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `serve` in front where no command is named; `greenserve serve check` reaches a module named check."""
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if args and args[0] not in self.commands and args[0] not in own:
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a usage error quotes what was typed, but no secret."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise click.UsageError(conceal(error.format_message()), error.ctx) from None


@click.group(
    cls=DefaultCommand,
    context_settings={"help_option_names": ["-h", "--help"]},
    options_metavar="",
    subcommand_metavar="[serve] APP [OPTIONS]",
    epilog=_EPILOG,
)
@click.version_option(VERSION, message=f"greenserve %(version)s ({codec.DESCRIPTION})")
def main() -> None:
    """A concurrent WSGI and WebSocket server on green threads.

    `greenserve myapp:app` serves the WSGI application `app` of the module `myapp` in this directory, at
    http://127.0.0.1:8000 unless told otherwise. `greenserve serve --help` lists the options.
    """


class SettingsCommand(click.Command):
    """A command with the settings' options: another server's option is answered with what to write here."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does. Raises its UsageError, with a better hint where there is one."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = instead(error.option_name, Source.COMMAND_LINE)
            if hint is None:
                raise
            text = f"No such option: {error.option_name}; {hint}"
            raise click.NoSuchOption(error.option_name, text, ctx=ctx) from None
        except click.UsageError as error:
            if re.search(r"extra argument \(\S*\d\)", error.message):
                raise click.UsageError(f"{error.message}; use --bind HOST:PORT to say where to listen", ctx) from None
            raise


@main.command("serve", cls=SettingsCommand, epilog=_EPILOG)
@click.argument("app")
@settings_options
@click.pass_context
def serve_command(context: click.Context, /, app: str, **_: object) -> None:
    """Serve a WSGI application (this is the default command)."""
    _run(context, app)


serve_command.help = f"{serve_command.help}\n\nAPP is {FORMS}."


@main.command("demo", cls=SettingsCommand, epilog=_EPILOG)
@click.option("--tls", "secure", is_flag=True, help="Serve it over HTTPS, with a certificate made for this run.")
@settings_options
@click.pass_context
def demo_command(context: click.Context, /, secure: bool, **_: object) -> None:
    """Serve a built-in application whose page shows the server at work."""
    with failures(), contextlib.ExitStack() as stack:
        more = None
        if secure:
            from greenserve.tls import self_signed  # noqa: PLC0415 - serving does without

            if "tls_cert" in given_options(context):
                raise ConfigurationError("--tls makes a certificate, and --tls-cert names one: leave one of them out")
            more = stack.enter_context(self_signed.files())
            authority = Path(more["tls_cert"]).with_name("ca.pem")
            click.echo(
                f"A certificate was made for this run, of which browsers warn. curl: --cacert {authority}", err=True
            )
        _run(context, DEMO, more)


@main.command("check", cls=SettingsCommand, epilog=_EPILOG)
@click.argument("app", required=False)
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@settings_options
@click.pass_context
def check_command(context: click.Context, /, app: str | None, json: bool, **_: object) -> None:
    """Report settings, their origins and the environment; load APP, if one is named, without serving it."""
    from greenserve.cli.check import as_json, as_text, examine  # noqa: PLC0415 - serving does without

    # What the application prints while it loads must not get into the report.
    with failures(), contextlib.redirect_stdout(sys.stderr):
        report = examine(app, resolve_options(context))
    click.echo(as_json(report) if json else as_text(report))
    sys.exit(ExitCode.STOPPED if report.ok else ExitCode.FORCED)


@main.command("health", cls=SettingsCommand, epilog="The exit code is 0 when the server answers, else 1.")
@click.option("--pid", type=int, default=1, help="The server's process; 1 in a container. [default: 1]")
@settings_options
@click.pass_context
def health_command(context: click.Context, /, pid: int, **_: object) -> None:
    """Ask a server whether it answers, for a container's health check.

    It asks at --bind; by default where the server of this container listens.
    """
    from greenserve.cli.health import Unhealthy, ask, bound, server_of  # noqa: PLC0415 - serving does without

    environ: Mapping[str, str] = os.environ
    directory = Path.cwd()
    server = None if given_options(context) else server_of(pid)
    if server is not None:
        words, environ, directory = server.arguments, server.meant_for(os.getpid()), server.directory
        words = words[1:] if words[:1] and words[0] in main.commands else words
        context = serve_command.make_context("serve", words, resilient_parsing=True)
    with failures():
        settings = resolve_options(context, environ).settings
    addresses = server.listeners() if server is not None else []
    for address in addresses or settings.bind:
        try:
            if not addresses:
                address = tls.with_scheme(bound(address, server), on=tls.is_on(settings))
            status = ask(address, directory, proxied=settings.proxy_protocol)
        except Unhealthy as error:
            click.echo(f"greenserve: {error}", err=True)
            sys.exit(ExitCode.FORCED)
        # An application need not have a page at /, so every answer but a server error is healthy.
        click.echo(f"{address} answers with {status}", err=status >= 500)
        if status >= 500:
            sys.exit(ExitCode.FORCED)


def _server_options(seconds: float | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Which server is meant, and how long to wait for it."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        if seconds is not None:
            text = f"How many seconds to wait until it is done. [default: {seconds:g}]"
            function = click.option("--wait", type=click.FloatRange(0), default=seconds, help=text)(function)
        text = "Its pid file; by default as in the environment or the settings file found here."
        function = click.option("--pid-file", type=str, default=None, metavar="PATH", help=text)(function)
        text = "Its process: the one that was started. [default: the pid file's; 1 in a container]"
        return click.option("--pid", type=int, default=None, help=text)(function)

    return decorate


def _control(context: click.Context, action: Callable[[Any, int], str], pid: int | None, pid_file: str | None) -> None:
    """action: gets the module that has control of servers, and the process."""
    from greenserve.cli import control  # noqa: PLC0415 - serving does without

    with failures():
        found = pid_file if pid or pid_file else resolve_options(context).settings.pid_file
        try:
            click.echo(action(control, control.find(pid, found)))
        except control.Refused as error:
            click.echo(f"greenserve: {error}", err=True)
            sys.exit(ExitCode.FORCED)


@main.command("reload", epilog="The exit code is 0 when all workers run the new code, else 1.")
@_server_options(600)
@click.pass_context
def reload_command(context: click.Context, /, pid: int | None, pid_file: str | None, wait: float) -> None:
    """Have a server with several workers load its application anew, and wait until all of them run it."""
    _control(context, lambda control, found: control.reload(found, wait), pid, pid_file)


@main.command("stop", epilog="The exit code is 0 when it has stopped, else 1.")
@_server_options(600)
@click.pass_context
def stop_command(context: click.Context, /, pid: int | None, pid_file: str | None, wait: float) -> None:
    """Have a server stop gracefully, and wait until it has."""
    _control(context, lambda control, found: control.stop(found, wait), pid, pid_file)


@main.command("ps")
@_server_options()
@click.option("--json", "json", is_flag=True, help="Print it as JSON.")
@click.pass_context
def ps_command(context: click.Context, /, pid: int | None, pid_file: str | None, json: bool) -> None:
    """Show the workers of a server, and what each does."""
    _control(
        context, lambda control, found: (dumps if json else control.as_table)(control.workers(found)), pid, pid_file
    )


class ProgramCommand(click.Command):
    """A command whose arguments are a program's: only a leading -h or --help is the command's own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep all arguments as they are."""
        if args[:1] in (["-h"], ["--help"]):
            return super().parse_args(ctx, args)
        ctx.params = {"arguments": tuple(args)}
        return []


@main.command("run", cls=ProgramCommand, options_metavar="", epilog="The exit code is the program's.")
@click.argument("arguments", nargs=-1, metavar="(PROGRAM.py | -m MODULE) [ARGUMENTS]...")
def run_command(arguments: tuple[str, ...]) -> None:
    """Run any program with the standard library patched from its first line."""
    from greenserve.patching.run import NoProgram, run  # noqa: PLC0415 - serving does without

    try:
        run(arguments)
    except NoProgram as error:
        hint = f"; an application is served by `greenserve {arguments[0]}`" if ":" in "".join(arguments[:1]) else ""
        click.echo(f"greenserve run: {error}{hint}", err=True)
        sys.exit(error.code)


def _run(context: click.Context, reference: str, more: Mapping[str, str] | None = None) -> NoReturn:
    """more: options as if they were given on the command line."""
    with failures(), early_failures_told():
        resolution = resolve_options(context, more=more)
        detach_streams(resolution.settings.log_buffer)
        prepare(resolution)
        warn(resolution)
        arguments = sys.argv[1:]
        with without_arguments():
            code = serve(reference, resolution, arguments)
    sys.exit(code)
