"""From the text `module:attribute` to the WSGI application or the function it names, and a clear sentence where that
fails.
"""

from greenserve.loading.application import FORMS, Reference, load_application, parse_reference
from greenserve.loading.function import load_function

__all__ = ["FORMS", "Reference", "load_application", "load_function", "parse_reference"]
