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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from greenserve.errors import ConfigurationError
from greenserve.http.error_page import NO_PAGES
from greenserve.http.response import status_line
from greenserve.settings import Mount, Settings
from greenserve.static.answer import answer_file
from greenserve.static.beneath import open_beneath
from greenserve.static.places import INDEX, Place, Places
from greenserve.static.refused import Answer, Refused
from greenserve.static.representation import choose, open_file
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.gateway import Application

logger = logging.getLogger("greenserve.static")

_READ = ("GET", "HEAD")
_ALLOW = ("Allow", "GET, HEAD, OPTIONS")
_ENCODED_SLASH = re.compile(r"%2[fF]|%5[cC]")


class StaticFiles:
    """Serves the files of `places` in front of `application`. pages: an operator's own error pages, by status."""

    def __init__(self, application: Application, places: Places, pages: Mapping[int, bytes]) -> None:
        self._application = application
        self._places = places
        self._pages = pages

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as PEP 3333 says."""
        path = environ["PATH_INFO"]
        if path.startswith(self._places.prefixes):
            place = None if _has_encoded_slash(environ["REQUEST_URI"]) else self._places.find(path)
            try:
                answer = None if place is None else _answer(environ, place)
            except Refused as refused:
                answer = refused.answer(environ.get("HTTP_ACCEPT"), self._pages)
            if answer is not None:
                status, headers, body = answer
                start_response(status, headers)
                return body
        return self._application(environ, start_response)


def with_static(application: Application, settings: Settings, pages: Mapping[int, bytes] = NO_PAGES) -> Application:
    """`application`, with the directories of the settings in front of it if there are any."""
    if not settings.static:
        return application
    places = Places(settings.static, settings.static_max_age, re.compile(settings.static_immutable))
    return StaticFiles(application, places, pages)


def check(mounts: Sequence[Mount]) -> None:
    """Raises ConfigurationError for a directory that cannot be served."""
    for mount in mounts:
        path = Path(mount.directory).absolute()
        try:
            os.close(open_beneath(os.fsencode(path), ()))
            if not os.access(path, os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            hint = "let the server's user enter it" if isinstance(error, PermissionError) else "create it"
            raise ConfigurationError(
                f"static = {str(mount)!r}: the directory {path} cannot be served: {error.strerror}; {hint}, or write "
                f"{mount.prefix or '/'}=DIR with another one"
            ) from error


def _has_encoded_slash(target: str) -> bool:
    """Such a slash is part of a name, and no file's name holds it."""
    return "%" in target and _ENCODED_SLASH.search(target.partition("?")[0]) is not None


def _answer(environ: Environ, place: Place) -> Answer | None:
    """The answer; None when it is the application's to give. Raises Refused."""
    method = environ["REQUEST_METHOD"]
    try:
        found = open_file(place.root, place.names)
        if found is None:
            return None
        fd, info = found
        if stat.S_ISREG(info.st_mode) and method in _READ:
            return answer_file(environ, choose(place, fd, info, environ.get("HTTP_ACCEPT_ENCODING")))
        os.close(fd)
        if stat.S_ISDIR(info.st_mode) and not _may_be_redirected(environ, place):
            return None
    except OSError as error:
        refused = _refused(environ["PATH_INFO"], error)
        if refused is None:
            raise
        raise refused from error
    if method in _READ:
        return _redirect(environ)
    if method == "OPTIONS":
        return status_line(204), [_ALLOW], ()
    raise Refused(405, "this is a file: it can be read, and nothing else", _ALLOW)


def _may_be_redirected(environ: Environ, place: Place) -> bool:
    """Whether a directory has an index, and its path lacks the slash."""
    found = None if environ["PATH_INFO"].endswith("/") else open_file(place.root, (*place.names, INDEX))
    if found is None:
        return False
    os.close(found[0])
    return stat.S_ISREG(found[1].st_mode)


def _redirect(environ: Environ) -> Answer:
    """To the directory's path with a slash. The reference is relative to the last name: so it is right behind a proxy
    that has taken a prefix away, and never begins with two slashes, which would lead to another host.
    """
    location = quote(environ["PATH_INFO"].rpartition("/")[2].encode("latin-1"), safe="") + "/"
    if environ["QUERY_STRING"]:
        location += "?" + environ["QUERY_STRING"]
    return status_line(301), [("Location", location), ("Content-Length", "0")], ()


def _refused(path: str, error: OSError) -> Refused | None:
    """What a client is told where what is there cannot be opened; None: that is a failure of the server's."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        logger.warning("%s cannot be opened: %s", path, error.strerror)
        return Refused(503, "too many files are open", ("Retry-After", "1"))
    if error.errno in (errno.EACCES, errno.EPERM):
        logger.warning("%s cannot be opened: %s; let the server's user read it", path, error.strerror)
        return Refused(403, "the file may not be read")
    return None
