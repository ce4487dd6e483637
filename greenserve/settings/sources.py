"""Gathering the sources: the command line wins over the environment, that over the file, that over the defaults.

Every value keeps its origin, so that `greenserve check` can show it and an error can name the line to correct.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenserve.errors import ConfigurationError
from greenserve.settings.model import (
    ENVIRONMENT_PREFIX,
    OPTIONS,
    Origin,
    Settings,
    Source,
    instead,
    near_match,
    unknown_option,
)

CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"
OWN_FILE = "greenserve.toml"
PROJECT_FILE = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Resolution:
    """The settings, where each value came from (by option name), the file that was read, and what looked wrong."""

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path | None
    warnings: tuple[str, ...]


def resolve(
    command_line: Mapping[str, object], environ: Mapping[str, str], directory: Path, config: str | None = None
) -> Resolution:
    """Resolve every option. Raises ConfigurationError for a bad value, an unknown key of the file, a bad file.

    command_line: the options given there, by option name; directory: where the file is looked for; config: the file to
    read instead (then GREENSERVE_CONFIG does not count). An unknown GREENSERVE_ variable is a warning only: the
    environment is shared, and Kubernetes puts GREENSERVE_PORT and more there when a service has that name.
    """
    file, table = _read_file(directory, config or environ.get(CONFIG_VARIABLE) or None)
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    from_file = _by_option_name(table, file)
    for option in OPTIONS.values():
        if option.name in command_line:
            given, origin = command_line[option.name], Origin(Source.COMMAND_LINE, option.flag)
        elif option.variable in environ:
            given, origin = environ[option.variable], Origin(Source.ENVIRONMENT, option.variable)
        elif option.name in from_file:
            given, origin = from_file[option.name], Origin(Source.FILE, str(file))
        else:
            origins[option.name] = Origin(Source.DEFAULT)
            continue
        values[option.name] = option.parse(given, origin)
        origins[option.name] = origin
    return Resolution(Settings(**values), origins, file, tuple(_unknown_variables(environ)))


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
                f"such as {example}"
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
    known = [*(option.variable for option in OPTIONS.values()), CONFIG_VARIABLE]
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
