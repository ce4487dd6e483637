"""The WSGI application in front of the application: it answers requests for files, and hands on all others.

What is not there as a file is the application's to answer: so a directory may be mounted at /, beside the application's
own pages, and a missing file gets the application's own 404.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from greenserve.errors import ConfigurationError
from greenserve.http.response import status_line
from greenserve.settings import Mount, Settings
from greenserve.static.answer import Answer, answer_file, refusal
from greenserve.static.content_types import content_type
from greenserve.static.representation import NotAcceptable, choose, open_file
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.gateway import Application

logger = logging.getLogger("greenserve.static")

INDEX = b"index.html"
_METHODS = ("Allow", "GET, HEAD, OPTIONS")

# A name in a path: no control character, no backslash, which is a slash elsewhere; and hidden files stay hidden,
# except those that RFC 8615 wants to be found. What is not UTF-8 is a name like any other: names are octets.
_NAME = re.compile(rb"(?!\.)[^\x00-\x1f\x7f/\\]+|\.well-known")
_ENCODED_SLASH = re.compile(r"%2[fF]|%5[cC]")


class StaticFiles:
    """Serves the files of `mounts` in front of `application`.

    max_age: seconds for which clients may use a file without asking again; 0: they ask each time. immutable: found in
    the path of a file that never changes, since its name has a hash of what is in it.
    """

    def __init__(
        self, application: Application, mounts: Sequence[Mount], max_age: float, immutable: re.Pattern[str]
    ) -> None:
        self._application = application
        # PATH_INFO is octets in the guise of latin-1. The longest first: it is the nearest.
        self._mounts = sorted(
            (
                (mount.prefix.encode().decode("latin-1"), os.fsencode(Path(mount.directory).absolute()))
                for mount in mounts
            ),
            reverse=True,
        )
        self._prefixes = tuple(prefix or "/" for prefix, _ in self._mounts)
        self._cache_control = f"public, max-age={int(max_age)}" if max_age else "no-cache"
        self._immutable = immutable

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as PEP 3333 says."""
        path = environ["PATH_INFO"]
        if path.startswith(self._prefixes):
            answer = self._answer(environ, path)
            if answer is not None:
                status, headers, body = answer
                start_response(status, headers)
                return body
        return self._application(environ, start_response)

    def _answer(self, environ: Environ, path: str) -> Answer | None:
        """The answer; None when it is the application's to give."""
        if "%" in environ["REQUEST_URI"] and _ENCODED_SLASH.search(environ["REQUEST_URI"].partition("?")[0]):
            return None  # it is part of a name, and no file's name holds it
        for prefix, root in self._mounts:
            rest = path[len(prefix) :]
            if path.startswith(prefix) and (not rest or rest[0] == "/"):
                return self._answer_beneath(environ, root, rest)
        return None

    def _answer_beneath(self, environ: Environ, root: bytes, rest: str) -> Answer | None:
        """The same for what is beneath the directory `root`. rest: of the path, behind the prefix."""
        names = rest.encode("latin-1").split(b"/")[1:]
        if names and not names[-1]:
            names[-1] = INDEX
        if not all(map(_NAME.fullmatch, names)):
            return None
        try:
            return self._answer_names(environ, root, names)
        except OSError as error:
            return _failed(environ["PATH_INFO"], error)

    def _answer_names(self, environ: Environ, root: bytes, names: list[bytes]) -> Answer | None:
        path = environ["PATH_INFO"]
        found = open_file(root, names)
        if found is None:
            return None
        fd, info = found
        is_directory = stat.S_ISDIR(info.st_mode)
        method = environ["REQUEST_METHOD"]
        if is_directory or method not in ("GET", "HEAD"):
            os.close(fd)
            if is_directory and (path.endswith("/") or not _has_index(root, names)):
                return None
            return _redirect(environ, path) if method in ("GET", "HEAD") else _other_method(method)
        kind = content_type(names[-1].decode("latin-1"))
        try:
            file = choose(root, names, kind, found, environ.get("HTTP_ACCEPT_ENCODING"))
        except NotAcceptable:
            return _refuse(406, "Accept-Encoding excludes each form of the file", ("Vary", "Accept-Encoding"))
        immutable = self._immutable.search(path) is not None
        return answer_file(environ, file, "public, max-age=31536000, immutable" if immutable else self._cache_control)


def _has_index(root: bytes, names: Sequence[bytes]) -> bool:
    found = open_file(root, (*names, INDEX))
    if found is None:
        return False
    os.close(found[0])
    return stat.S_ISREG(found[1].st_mode)


def _redirect(environ: Environ, path: str) -> Answer:
    """To the directory's path with a slash. The reference is relative to the last name: so it is right behind a proxy
    that has taken a prefix away, and never begins with two slashes, which would lead to another host.
    """
    location = quote(path.rpartition("/")[2].encode("latin-1"), safe="") + "/"
    if environ["QUERY_STRING"]:
        location += "?" + environ["QUERY_STRING"]
    return _refuse(301, "a directory's path ends with a slash", ("Location", location))


def _other_method(method: str) -> Answer:
    if method == "OPTIONS":
        return status_line(204), [_METHODS], ()
    return _refuse(405, "this is a file: it can be read, and nothing else", _METHODS)


def _failed(path: str, error: OSError) -> Answer:
    """What is there cannot be opened."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        logger.warning("%s cannot be opened: %s", path, error.strerror)
        return _refuse(503, "too many files are open", ("Retry-After", "1"))
    if error.errno in (errno.EACCES, errno.EPERM):
        logger.warning("%s cannot be opened: %s; let the server's user read it", path, error.strerror)
        return _refuse(403, "the file may not be read")
    raise error


def _refuse(status: int, detail: str, *headers: tuple[str, str]) -> Answer:
    status, given, body = refusal(status, detail, list(headers))
    return status_line(status), given, body


def with_static(application: Application, settings: Settings) -> Application:
    """`application`, with the directories of the settings in front of it if there are any."""
    if not settings.static:
        return application
    return StaticFiles(application, settings.static, settings.static_max_age, re.compile(settings.static_immutable))


def check(mounts: Sequence[Mount]) -> None:
    """Raises ConfigurationError for a directory that cannot be served."""
    for mount in mounts:
        path = Path(mount.directory).absolute()
        try:
            with os.scandir(path):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"static = {str(mount)!r}: the directory {path} cannot be read: {error.strerror}; create it, or write "
                f"{mount.prefix or '/'}=DIR with another one"
            ) from error
