"""What has moved is found under its former name, and is the same."""

from __future__ import annotations

import importlib
import sys

import pytest

import greenserve.http
import greenserve.wsgi
from greenserve.compat.former_names import MOVED
from tests.hub.support import run


@pytest.mark.parametrize("name", MOVED)
def test_a_module_that_has_moved_is_found_under_its_former_name(name: str):
    assert importlib.import_module(name) is importlib.import_module(MOVED[name])
    package, _, last = name.rpartition(".")
    assert getattr(importlib.import_module(package), last) is sys.modules[MOVED[name]]


def test_it_is_found_in_a_fresh_process_and_keeps_its_own_name():
    done = run(
        """
        from greenserve.green import dns
        from greenserve.green.monkey import report
        from greenserve.wsgi.input import Input
        print(dns.__name__, report, Input.__name__)
        try:
            import greenserve.green.never_was
        except ModuleNotFoundError as error:
            print(error)
        """
    )
    assert done.stdout.splitlines() == [
        "greenserve.hub.resolver Report(early=(), held=()) BodyReader",
        "No module named 'greenserve.green.never_was'",
    ]


def test_classes_have_their_former_names_beside_the_new_ones():
    assert greenserve.http.Inbound is greenserve.http.RequestParser
    assert greenserve.wsgi.Exchange is greenserve.wsgi.Gateway
    assert greenserve.Server()._service is None
