"""From the text `module:attribute` to the WSGI application, the function or the module it names, and a clear sentence
where that fails.
"""

from greenserve.loading.application import FORMS, Reference, load_application, parse_reference, raised
from greenserve.loading.function import load_function
from greenserve.loading.module import load_module

__all__ = ["FORMS", "Reference", "load_application", "load_function", "load_module", "parse_reference", "raised"]
