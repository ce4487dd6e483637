"""A worker with `--reload`: loads the application by itself, or serves a page that says why it cannot."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication

from greenserve.errors import LoadError
from greenserve.hub.core.hub import current_hub
from greenserve.reload.page import TroublePage
from greenserve.reload.sources import sources
from greenserve.settings import Settings
from greenserve.supervisor.channel import Channel, Gone

logger = logging.getLogger("greenserve.workers")

SOURCES_SECONDS = 1.0  # between two looks whether a request has imported more
MOST_SOURCES = 300  # that are told at once: a message is short
# By these werkzeug and Django tell the process that they have reloaded from the one that only watches: applications
# start their schedulers in the former alone. By the last one, Flask ignores app.run().
_RELOADED = {"WERKZEUG_RUN_MAIN": "true", "RUN_MAIN": "true", "FLASK_RUN_FROM_CLI": "true"}


def scope(settings: Settings, directory: str, config: Path | None) -> dict[str, Any]:
    """What is watched, as reload/scope.py has it. directory: where the server was started. config: its file.

    anew: whether this process has loaded some of the application's code already, by a setting that names it (hooks,
    tls_context), so that its children would not load it anew.
    """
    start, here = Path(directory), Path.cwd()
    env_files = [str(start / each) for each in settings.env_file]
    return {
        "directories": [str((here / each).resolve()) for each in settings.reload_dir or (".",)],
        "include": settings.reload_include,
        "exclude": settings.reload_exclude,
        "anew": any(sources(sys.modules)),
        "settings": [*env_files, str(start / (config or "greenserve.toml"))],
    }


def load_or_explain(load: Callable[[], WSGIApplication], channel: Channel, trouble: str) -> WSGIApplication:
    """The application; if it cannot be loaded, one that says why. trouble: why it cannot, where that is known."""
    os.environ.update(_RELOADED)
    if trouble:
        logger.error("the application cannot be loaded: %s. The next save is tried", trouble)
        return TroublePage(trouble)
    application: WSGIApplication
    told = Sources(channel)
    try:
        application = load()
    except LoadError as error:
        logger.error("%sthe application cannot be loaded: %s. The next save is tried", error.details, error)
        channel.send_failure(error)
        application = TroublePage(str(error), error.details)
        told.tell(error)
    told.keep_telling()
    return application


class Sources:
    """Tells the supervisor where the code comes from, as long as there is more and more of it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._since = time.time()
        self._modules = 0

    def keep_telling(self) -> None:
        """Now, and whenever requests have imported something."""
        if len(sys.modules) != self._modules:
            self.tell()
        current_hub().call_later(SOURCES_SECONDS, self.keep_telling)

    def tell(self, error: BaseException | None = None) -> None:
        """error: what has kept the application from being loaded."""
        modules = dict(sys.modules)
        self._modules = len(modules)
        directories, files = sources(modules, error)
        more = {"directories": directories[:MOST_SOURCES], "files": files[:MOST_SOURCES]}
        with suppress(Gone):
            self._channel.send({"more": more, "since": self._since})
