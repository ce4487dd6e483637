"""WhiteNoise over the directory that STATIC_DIRECTORY names, as its documentation says."""

import os

from whitenoise import WhiteNoise


def nothing(environ, start_response):
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"not found"]


app = WhiteNoise(nothing, root=os.environ.get("STATIC_DIRECTORY", "."), prefix="static")
