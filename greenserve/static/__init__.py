"""Files of directories, served in front of the application: `--static /prefix=DIR`.

layer.py is a WSGI application that answers what it finds and hands on what it does not. places.py says which file a
path names; beneath.py opens it, so that nothing outside a directory is ever opened; representation.py chooses among a
file and its compressed siblings; answer.py says what a request for one is answered, refused.py what a refused one is;
content_types.py knows types.
"""

from __future__ import annotations

from greenserve.static.layer import StaticFiles, check, with_static

__all__ = ["StaticFiles", "check", "with_static"]
