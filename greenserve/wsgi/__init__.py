"""PEP 3333: what stands between a connection and the application. No socket here: bytes go through a `Transport`."""

from greenserve.wsgi.environ import EnvironTemplate
from greenserve.wsgi.gateway import Exchange
from greenserve.wsgi.response import FileWrapper
from greenserve.wsgi.transport import Transport

__all__ = ["EnvironTemplate", "Exchange", "FileWrapper", "Transport"]
