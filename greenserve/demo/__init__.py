"""`greenserve demo`: an ordinary WSGI application whose page shows the server at work.

The application is plain blocking code, as users write it: it sleeps with `time.sleep`, reads `wsgi.input` in a loop and
streams from generators. Where it needs company it calls `greenserve.spawn`. Every state that requests share has a
fixed upper size.

- `app.py`       the table of routes, and the WSGI callable
- `web.py`       a request's parameters with their limits, responses, refusals
- `activity.py`  what is in progress right now
- `slow.py`      a sleeping request, and the burst of them
- `stream.py`    a response in pieces
- `upload.py`    a body counted while it arrives, and the pages that watch
- `chat.py`      a chat over WebSockets, with rooms
- `live.py`      the feed of figures, and the facts of the process
- `assets.py`    the page itself, from `page/`
"""

from __future__ import annotations

from greenserve.demo.app import application

__all__ = ["application"]
