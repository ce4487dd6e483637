"""From the text `module:attribute` to the WSGI application it names, and a clear sentence where that fails."""

from greenserve.loading.application import FORMS, Reference, load_application, parse_reference

__all__ = ["FORMS", "Reference", "load_application", "parse_reference"]
