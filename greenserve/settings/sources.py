"""Gathering the sources: the command line wins over the environment, that over the file, that over the defaults.

Every value keeps its origin, so that `greenserve check` can show it and an error can name the line to correct.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenserve.errors import ConfigurationError
from greenserve.settings.addresses import FdAddress
from greenserve.settings.env_file import read_env_file
from greenserve.settings.kinds import PORT
from greenserve.settings.model import (
    ENVIRONMENT_PREFIX,
    OPTIONS,
    Option,
    Origin,
    Settings,
    Source,
    instead,
    near_match,
    unknown_option,
)
from greenserve.settings.passed_sockets import PassedSockets

CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"
CODEC_VARIABLE = ENVIRONMENT_PREFIX + "CODEC"  # counts before any source is read; see codec.py
OWN_FILE = "greenserve.toml"
PROJECT_FILE = "pyproject.toml"
WORKERS_VARIABLE = "WEB_CONCURRENCY"
PORT_VARIABLE = "PORT"  # Heroku, Cloud Run and others that know Procfiles set it, and connect there


@dataclass(frozen=True, slots=True)
class Resolution:
    """The settings, where each value came from (by option name), the file that was read, and what looked wrong.

    variables: what the files of env_file add to the environment.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path | None
    warnings: tuple[str, ...]
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Given:
    """What is written in the sources, unparsed. files: of a variable that a file of env_file has set, that file."""

    command_line: Mapping[str, object]
    environ: Mapping[str, str]
    files: Mapping[str, Path]
    table: Mapping[str, object]
    file: Path | None

    def find(self, option: Option) -> tuple[object, Origin] | None:
        """The value that counts, and where it came from; None if no source has one."""
        if option.name in self.command_line:
            return self.command_line[option.name], Origin(Source.COMMAND_LINE, option.flag)
        if option.variable in self.environ:
            return self.environ[option.variable], self._origin(option.variable)
        if option.name in self.table:
            return self.table[option.name], Origin(Source.FILE, str(self.file))
        if option.name == "workers":
            return self._platforms_workers()
        return self._passed_bind() or self._platforms_bind() if option.name == "bind" else None

    def _platforms_workers(self) -> tuple[object, Origin] | None:
        value = self.environ.get(WORKERS_VARIABLE)
        return (value, Origin(Source.ENVIRONMENT, self._origin(WORKERS_VARIABLE).name)) if value else None

    def _passed_bind(self) -> tuple[object, Origin] | None:
        sockets = PassedSockets.read(self.environ)
        redirect = self.find(OPTIONS["redirect_https"])
        addresses = [each for each in sockets.addresses if redirect is None or each != redirect[0]]
        return (addresses, Origin(Source.ENVIRONMENT, f"environment: {sockets}")) if addresses else None

    def _platforms_bind(self) -> tuple[object, Origin] | None:
        port = self.environ.get(PORT_VARIABLE)
        if not port:
            return None
        try:
            PORT.parse(port)
        except ConfigurationError as error:
            where = self._origin(PORT_VARIABLE)
            raise ConfigurationError(
                f"the variable {where}, which says where to listen if bind does not, is {port!r}: {error}. Give it "
                f"{PORT.form}, unset it, or give {OPTIONS['bind'].flag}"
            ) from None
        return f":{port}", Origin(Source.ENVIRONMENT, f"environment: {self._origin(PORT_VARIABLE)}")

    def _origin(self, variable: str) -> Origin:
        file = self.files.get(variable)
        return Origin(Source.ENVIRONMENT, variable if file is None else f"{variable} in {file}")


def resolve(
    command_line: Mapping[str, object], environ: Mapping[str, str], directory: Path, config: str | None = None
) -> Resolution:
    """Resolve every option. Raises ConfigurationError for a bad value, an unknown key of the file, a bad file.

    command_line: the options given there, by option name; directory: where the file is looked for; config: the file to
    read instead (then GREENSERVE_CONFIG does not count). An unknown GREENSERVE_ variable is a warning only: the
    environment is shared, and Kubernetes puts GREENSERVE_PORT and more there when a service has that name.
    Where no source has `bind`, it is the sockets that systemd has passed (LISTEN_FDS), or else PORT, a platform's.
    """
    given = _with_env_files(_Given(command_line, environ, {}, {}, None), directory)
    file, table = _read_file(directory, config or given.environ.get(CONFIG_VARIABLE) or None)
    given = dataclasses.replace(given, table=_by_option_name(table, file), file=file)
    if not given.files:
        given = _with_env_files(given, directory)
        if CONFIG_VARIABLE in given.files:
            raise ConfigurationError(
                f"{given.files[CONFIG_VARIABLE]} sets {CONFIG_VARIABLE}, but the settings file has been read already: "
                f"it names this file. Name it by {OPTIONS['env_file'].flag} instead"
            )
    if CODEC_VARIABLE in given.files:
        raise ConfigurationError(
            f"{given.files[CODEC_VARIABLE]} sets {CODEC_VARIABLE}, but the codec is chosen before a file is read: set "
            "it where the command is started"
        )
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for option in OPTIONS.values():
        found = given.find(option)
        if found is None:
            origins[option.name] = Origin(Source.DEFAULT)
            continue
        value, origins[option.name] = found
        values[option.name] = option.parse(value, origins[option.name])
    settings = Settings(**values)
    warnings = (*_unknown_variables(given.environ), *_unused_sockets(given.environ, settings, origins))
    variables = {name: given.environ[name] for name in given.files}
    return Resolution(settings, origins, file, warnings, variables)


def _unused_sockets(environ: Mapping[str, str], settings: Settings, origins: Mapping[str, Origin]) -> list[str]:
    """A warning for sockets that were passed and are not listened on. Raises ConfigurationError where one that is to be
    listened on was not passed.
    """
    sockets = PassedSockets.read(environ)
    if not sockets.fds:
        return []
    named = [("redirect_https", settings.redirect_https), *(("bind", address) for address in settings.bind)]
    wanted = {address.fd: name for name, address in named if isinstance(address, FdAddress)}
    passed = ", ".join(sockets.addresses)
    for fd, name in wanted.items():
        if fd not in sockets.fds:
            raise ConfigurationError(
                f"{name} = fd://{fd} (from {origins[name]}): the sockets that were passed ({sockets}) are {passed}. "
                f"Name one of these, or leave {name} out"
            )
    unused = ", ".join(f"fd://{fd}" for fd in sockets.fds if fd not in wanted)
    if not unused:
        return []
    return [
        f"bind (from {origins['bind']}) leaves out {unused} of the sockets that were passed ({sockets}): clients that "
        "connect there wait for ever"
    ]


def _with_env_files(given: _Given, directory: Path) -> _Given:
    """The environment with the variables of the files that env_file names, of which later ones win over earlier."""
    option = OPTIONS["env_file"]
    found = given.find(option)
    if found is None:
        return given
    environ, files = dict(given.environ), {}
    for path in option.parse(*found):
        file = directory / path
        for name, value in read_env_file(file).items():
            if name == option.variable:
                raise ConfigurationError(f"{file} sets {name}, but a file cannot name another one: name them both")
            if name not in given.environ:
                environ[name], files[name] = value, file
    return dataclasses.replace(given, environ=environ, files=files)


def _read_file(directory: Path, config: str | None) -> tuple[Path | None, dict[str, Any]]:
    if config is not None:
        path = directory / config
        return path, _table(path, must_exist=True)
    # greenserve.toml wins as a whole: if two files were merged, it would be unclear where a value came from.
    for name in (OWN_FILE, PROJECT_FILE):
        path = directory / name
        if path.is_file():
            table = _table(path, must_exist=name == OWN_FILE)
            if table or name == OWN_FILE:
                return path, table
    return None, {}


def _table(path: Path, *, must_exist: bool) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - most servers have no such file

    try:
        with path.open("rb") as stream:
            document = tomllib.load(stream)
    except OSError as error:
        raise ConfigurationError(f"the settings file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        if path.suffix == ".py":
            example = OPTIONS["bind"].written(Source.FILE, "HOST:PORT")
            raise ConfigurationError(
                f"the settings file {path} is written in Python, as gunicorn's is; greenserve's is TOML, with lines "
                f"such as {example}; functions in it are called if hooks names it"
            ) from error
        raise ConfigurationError(f"the settings file {path} is not valid TOML: {error}") from error
    if path.name != PROJECT_FILE:
        return document
    tools = document.get("tool", {})
    table = tools.get("greenserve", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"[tool.greenserve] in {path} is not a table")
    if must_exist and not table:
        raise ConfigurationError(f"{path} has no table [tool.greenserve]")
    return table


def _by_option_name(table: Mapping[str, Any], file: Path | None) -> dict[str, Any]:
    """The file's keys may be written with `-`, as on the command line, or with `_`; but each once."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in OPTIONS:
            raise unknown_option(name, f"{key!r} in {file}", {each: each for each in OPTIONS}, Source.FILE)
        if name in found:
            raise ConfigurationError(f"{file} has {name} twice, once with - and once with _")
        found[name] = value
    return found


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = [*(option.variable for option in OPTIONS.values()), CONFIG_VARIABLE, CODEC_VARIABLE]
    # Compared without the common prefix, which would make all short ones alike.
    names = {variable.removeprefix(ENVIRONMENT_PREFIX): variable for variable in known}
    warnings = []
    for variable in sorted(environ):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            name = variable.removeprefix(ENVIRONMENT_PREFIX)
            near = near_match(name, names)
            # Kubernetes' GREENSERVE_PORT is a URL: that one is not meant for greenserve.
            hint = instead(name, Source.ENVIRONMENT) if "://" not in environ[variable] else None
            hint = f"; {hint}" if hint else f"; did you mean {near}?" if near else ""
            warnings.append(f"the environment variable {variable} is not an option of greenserve and is ignored{hint}")
    return warnings
