"""Files of environment variables: KEY=VALUE lines, as Docker's --env-file and systemd's EnvironmentFile have them.

Law: what is not clear is refused, never guessed, and a refusal quotes no value: most of them are secrets. `$` has no
meaning, so a password may have one.
"""

from __future__ import annotations

import re
from pathlib import Path

from greenserve.errors import ConfigurationError

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_LINE = re.compile(
    rf"""[^\S\n]* (?:
        (?: [#;][^\n]* )?                                                  # a comment, or nothing
      | (?: export[^\S\n]+ )? (?P<name>{_NAME}) =
        (?: [^\S\n]* (?:
            "(?P<double> (?: [^"\\] | \\. )* )"                            # quoted, maybe over several lines
          | '(?P<single> [^']* )'
          | (?P<plain> (?! ["'] | (?<=\s)\# ) \S (?: (?! [^\S\n]\# ) [^\n] )* )  # ` #`: a comment to some only
        ) )? [^\S\n]*
    ) (?: \n | \Z )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r'\\(["\\$`])')  # systemd.exec(5), like a shell; any other backslash stays


def parse_env_file(text: str, file: str) -> dict[str, str]:
    """The variables of a file's text, the last value of each. Raises ConfigurationError with the file and the line."""
    text = text.replace("\r\n", "\n")
    variables: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _LINE.match(text, at)
        if match is None or "\0" in match[0]:
            line = text[at:].partition("\n")[0]
            raise ConfigurationError(f"{file}, line {text.count(chr(10), 0, at) + 1}: {_what_is_wrong(line)}")
        if match["name"] is not None:
            double, single, plain = match["double"], match["single"], match["plain"]
            value = single or (plain or "").rstrip()
            variables[match["name"]] = value if double is None else _ESCAPED.sub(r"\1", double)
        at = match.end()
    return variables


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a file in UTF-8. Raises ConfigurationError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the file {path} (from env_file) cannot be read: {error.strerror}") from error
    try:
        return parse_env_file(content.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}, line {line}: it is not UTF-8") from error


def _what_is_wrong(line: str) -> str:
    name, sign, value = line.strip().removeprefix("export ").lstrip().partition("=")
    value = value.lstrip()
    if "\0" in line:
        return "no variable can contain NUL"
    if not sign or not re.fullmatch(_NAME, name):
        return "KEY=VALUE is wanted, with a KEY of letters, digits and _ and no space around ="
    if value[:1] in ('"', "'"):
        return f"the value of {name} begins with a quote, which has to be closed at its end, with nothing behind it"
    return f"the value of {name} has a # behind a space: quote the value, or give the comment a line of its own"
