"""Loading: every form of APP works, and every way to fail says whose fault it is and what to do."""

from __future__ import annotations

import itertools
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenserve.errors import ConfigurationError, LoadError
from greenserve.loading import load_application, parse_reference

WSGI = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"app"]
"""

Write = Callable[..., None]
Load = Callable[[str], object]

_numbers = itertools.count()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """An application's directory; the modules that are imported from it, and its place on sys.path, go afterwards."""
    modules, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    sys.path_importer_cache.pop(str(tmp_path), None)


@pytest.fixture
def write(directory: Path) -> Write:
    def write(source: str, name: str = "site_app.py") -> None:
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source))

    return write


@pytest.fixture
def load(directory: Path) -> Load:
    return lambda reference: load_application(reference, str(directory))


def failure(load: Load, reference: str) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load(reference)
    return caught.value


# The forms


@pytest.mark.parametrize("reference", ["site_app:app", "site_app", " site_app:app ", "site_app:holder.inner"])
def test_an_application_is_loaded(write: Write, load: Load, reference: str) -> None:
    write(WSGI + "class holder:\n    inner = app\n")
    assert load(reference) is sys.modules["site_app"].app  # type: ignore[attr-defined]


def test_a_module_alone_means_application_before_app(write: Write, load: Load) -> None:
    write(WSGI + "def application(environ, start_response): ...\n")
    assert load("site_app") is sys.modules["site_app"].application  # type: ignore[attr-defined]


def test_a_module_inside_packages_is_loaded(write: Write, load: Load) -> None:
    write("", "site_pkg/__init__.py")
    write(WSGI, "site_pkg/web/wsgi.py")
    assert callable(load("site_pkg.web.wsgi:app"))


def test_a_factory_is_called_with_its_literal_arguments(write: Write, load: Load) -> None:
    write("""
        class Site:
            def __init__(self, *args, **kwargs): self.args, self.kwargs = args, kwargs
            def __call__(self, environ, start_response): ...
        class made: make = Site
    """)
    site = load("site_app:Site('name', -1, [2], debug=False)")
    assert (site.args, site.kwargs) == (("name", -1, [2]), {"debug": False})  # type: ignore[attr-defined]
    assert load("site_app:made.make()").args == ()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "source",
    [
        "class app:\n    def __init__(self, environ, start_response): ...\n    def __iter__(self): ...\n",
        "import functools\ndef f(x, environ, start_response): ...\napp = functools.partial(f, 1)\n",
        "def app(*args): ...\n",
        "class A:\n    def wsgi(self, environ, start_response): ...\napp = A().wsgi\n",
    ],
)
def test_everything_that_takes_environ_and_start_response_is_an_application(
    write: Write, load: Load, source: str
) -> None:
    write(source)
    assert callable(load("site_app:app"))


def test_the_directory_comes_first_on_the_path_and_only_once(write: Write, load: Load, directory: Path) -> None:
    write(WSGI)
    load("site_app:app")
    load("site_app:app")
    assert sys.path[0] == str(directory)
    assert sys.path.count(str(directory)) == 1


# Wrong forms


@pytest.mark.parametrize(
    ("reference", "fix"),
    [
        ("site_app.py:app", "site_app:app"),
        ("site_app.py", "site_app:app"),
        ("./site_app.py:application", "site_app:application"),
        ("web/site_app.py", "web.site_app:app"),
        ("web/site_app:app", "web.site_app:app"),
        ("/srv/web/site_app.py:app", "--chdir /srv/web site_app:app"),
        ("../web/site_app.py", "--chdir ../web site_app:app"),
    ],
)
def test_a_path_is_answered_with_the_same_thing_as_a_module(reference: str, fix: str) -> None:
    with pytest.raises(LoadError) as caught:
        parse_reference(reference)
    assert str(caught.value).endswith(f"an application is named as a module: {fix}")


@pytest.mark.parametrize(
    "reference",
    [
        "",
        ":app",
        "a-b:app",
        "a b",
        "1a:app",
        "a..b",
        "a:",
        "a:b c",
        "a:1",
        "a:b[0]",
        "a:b()()",
        "a:f(x)",
        "a:f(**{})",
        "a:\0",
    ],
)
def test_a_wrong_form_names_the_right_ones(reference: str) -> None:
    with pytest.raises(LoadError, match=r"module:(attribute|make_app)"):
        parse_reference(reference)


def test_a_load_error_is_a_configuration_error() -> None:
    assert issubclass(LoadError, ConfigurationError)


# Imports that fail


def test_a_missing_module_names_the_directory_and_the_near_match(write: Write, load: Load, directory: Path) -> None:
    write(WSGI)
    error = failure(load, "site_ap:app")
    assert str(error) == (
        f"there is no module 'site_ap' in {directory} or the installed packages; did you mean site_app:app?"
    )
    assert error.details == ""


def test_a_missing_module_names_what_the_directory_has(write: Write, load: Load) -> None:
    write(WSGI)
    assert "its modules are site_app" in str(failure(load, "zebra_q:app"))


def test_a_directory_without_modules_is_the_wrong_one(load: Load) -> None:
    assert "it contains no modules: name the application's directory with --chdir DIR" in str(
        failure(load, "zebra_q:app")
    )


def test_a_missing_submodule_is_looked_for_in_its_package(write: Write, load: Load, directory: Path) -> None:
    write("", "site_pkg/__init__.py")
    write(WSGI, "site_pkg/wsgi.py")
    error = str(failure(load, "site_pkg.wsgy:app"))
    assert f"there is no module 'site_pkg.wsgy' in {directory / 'site_pkg'}; did you mean site_pkg.wsgi:app?" == error


def test_a_dot_where_a_colon_belongs_is_recognised(write: Write, load: Load) -> None:
    write(WSGI)
    assert "did you mean site_app:app?" in str(failure(load, "site_app.app"))


def test_a_submodule_of_what_is_no_package_is_named_so(write: Write, load: Load) -> None:
    write(WSGI)
    assert "'site_app' is a module" in str(failure(load, "site_app.other:app"))


def test_a_missing_import_of_the_application_names_file_line_and_module(
    write: Write, load: Load, directory: Path
) -> None:
    write("import os\nimport no_such_library_q\n")
    error = str(failure(load, "site_app:app"))
    assert error.startswith(f"{directory / 'site_app.py'}, line 2, imports 'no_such_library_q', which cannot be found;")
    assert sys.prefix in error


def test_a_missing_import_deeper_down_names_the_file_where_it_is(write: Write, load: Load, directory: Path) -> None:
    write("import site_inner\n")
    write("\n\nimport site_app_missing\n", "site_inner.py")
    error = str(failure(load, "site_app:app"))
    assert error.startswith(f"{directory / 'site_inner.py'}, line 3, imports 'site_app_missing'")


def test_a_module_that_imports_its_own_missing_submodule_is_the_one_at_fault(write: Write, load: Load) -> None:
    write("import site_pkg.wsgi\n", "site_pkg/__init__.py")
    assert "__init__.py, line 1, imports 'site_pkg.wsgi'" in str(failure(load, "site_pkg.wsgi:app"))


def test_a_name_that_cannot_be_imported_names_file_and_line(write: Write, load: Load) -> None:
    write("from os import no_such_name\n")
    error = failure(load, "site_app:app")
    assert "site_app.py, line 1, has an import that failed: cannot import name 'no_such_name'" in str(error)


def test_a_syntax_error_names_file_and_line(write: Write, load: Load) -> None:
    write("x = 1\ndef (:\n")
    assert "site_app.py, line 2: " in str(failure(load, "site_app:app"))


def test_a_raising_import_shows_the_applications_own_traceback(write: Write, load: Load) -> None:
    write("def deep():\n    raise KeyError('no DATABASE_URL')\ndeep()\n")
    error = failure(load, "site_app:app")
    assert str(error) == "importing 'site_app' failed: KeyError: 'no DATABASE_URL'"
    assert "site_app.py" in error.details
    assert "loading.py" not in error.details
    assert "importlib" not in error.details


def test_a_module_that_exits_while_it_is_imported_is_no_exit_of_ours(write: Write, load: Load) -> None:
    write("import sys\nsys.exit(0)\n")
    assert "importing 'site_app' ended the program: sys.exit(0)" in str(failure(load, "site_app:app"))


def test_an_interrupt_while_importing_passes_through(write: Write, load: Load) -> None:
    write("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("site_app:app")


# Attributes and callables


@pytest.mark.parametrize(
    ("source", "reference", "why"),
    [
        (WSGI, "site_app:ap", r"'site_app' \(.*site_app\.py\) has no attribute 'ap'; did you mean 'app'\?"),
        (WSGI, "site_app:application", "did you mean 'app'"),
        (WSGI, "site_app:zebra", "has no attribute 'zebra'$"),
        ("class holder: inner = 1", "site_app:holder.iner", r"'site_app\.holder' .* did you mean 'inner'\?"),
        ("x = 1", "site_app", "neither `application` nor `app`; name the attribute"),
        ("def create_app(): ...", "site_app", r"it has a factory: use site_app:create_app\(\)"),
        ("app = 'text'", "site_app:app", "'site_app:app' is a str, not callable"),
        ("app = None", "site_app:app", "is None, not callable"),
        ("def make(): return None", "site_app:make()", "the factory 'make' returned None, which is not a WSGI"),
        ("make = 3", "site_app:make()", "is an int, not a factory"),
        ("def make(): raise OSError('no disk')", "site_app:make()", "the factory 'make' failed: OSError: no disk"),
        ("def make(a): ...", "site_app:make()", "the factory 'make' failed: TypeError"),
        ("def make(): raise SystemExit(3)", "site_app:make()", r"ended the program: sys\.exit\(3\)"),
        ("def make(): ...", "site_app:make", r"takes \(\); if it is a factory, call it: site_app:make\(\)"),
        ("def app(x): ...", "site_app:app", r"it takes \(x\)$"),
        ("async def app(scope, receive, send): ...", "site_app:app", "asynchronous"),
        ("class A:\n async def __call__(self, scope, receive, send): ...\napp = A()", "site_app:app", "asynchronous"),
        ("def __getattr__(name): raise OSError(name)", "site_app:app", "reading 'app' .* failed: OSError: app"),
    ],
)
def test_what_is_no_application_is_refused_with_the_reason(
    write: Write, load: Load, source: str, reference: str, why: str
) -> None:
    write(source)
    with pytest.raises(LoadError, match=why):
        load(reference)


def test_a_failing_factory_shows_its_traceback(write: Write, load: Load) -> None:
    write("def make():\n    raise OSError('no disk')\n")
    assert "line 2, in make" in failure(load, "site_app:make()").details


def test_a_module_of_the_standard_library_in_the_way_is_named_by_its_file(load: Load) -> None:
    assert "json/__init__.py" in str(failure(load, "json:app"))


# What the user may have meant

DJANGO = {
    "manage.py": "import os\ndef main(): ...\nif __name__ == '__main__':\n    main()\n",
    "shop_q/__init__.py": "",
    "shop_q/settings.py": "DEBUG = True\n",
    "shop_q/urls.py": "urlpatterns = []\n",
    "shop_q/wsgi.py": "def get_wsgi_application():\n    return lambda environ, start_response: []\n"
    "application = get_wsgi_application()\n",
    "shop_q/asgi.py": "class H:\n    async def __call__(self, scope, receive, send): ...\n"
    "def get_asgi_application(): return H()\napplication = get_asgi_application()\n",
}


@pytest.mark.parametrize(
    "reference",
    [
        *("shop_q", "shop_q.wsgi.py", "shop_q/wsgi.py", "./shop_q/wsgi.py", "shop_q.wsgi.application"),
        *("manage.py", "manage", "manage:app", "shop_q.settings", "shop_q:application", "shop_q:wsgi"),
        *(".", "shop_q/", "shop_q.asgi", "shop_q.asgi:application", "shop_q.asgi.py:application", "wsgi_q"),
    ],
)
def test_a_django_project_named_in_another_way_is_answered_with_its_wsgi_module(
    write: Write, load: Load, directory: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.chdir(directory)
    for name, source in DJANGO.items():
        write(source, name)
    if reference == "shop_q.asgi.py:application":
        assert str(failure(load, reference)).endswith("named as a module: shop_q.asgi:application")
    else:
        assert "shop_q.wsgi:application" in str(failure(load, reference))
    assert callable(load("shop_q.wsgi:application"))


@pytest.mark.parametrize("reference", ["outer_q", "outer_q/", "outer_q/manage.py"])
def test_from_above_a_project_chdir_is_part_of_the_answer(
    write: Write, load: Load, directory: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.chdir(directory)
    for name, source in DJANGO.items():
        write(source, f"outer_q/{name}")
    assert re.search("--chdir outer_q/? shop_q.wsgi:application$", str(failure(load, reference)))


FLASKS = """
class Flask:
    def __call__(self, environ, start_response): ...
    def route(self, path, view): ...
site = Flask()
admin = Flask()
"""


@pytest.mark.parametrize("reference", ["site_app", "site_app:zebra", "site_app.py", "zebra_q"])
def test_applications_under_other_names_are_all_named(
    write: Write, load: Load, directory: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.chdir(directory)
    write(FLASKS)
    error = str(failure(load, reference))
    assert "site_app:site" in error
    assert "site_app:admin" in error
    assert "route" not in error


@pytest.mark.parametrize(
    ("source", "reference"),
    [
        ("async def app(scope, receive, send): ...", "site_app"),
        ("class app:\n async def __call__(self, scope, receive, send): ...\n", "site_app:app()"),
        ("class A:\n async def __call__(self, scope, receive, send): ...\napp = A()", "site_app"),
        ("def app(scope, receive, send): ...", "site_app:app"),
        ("class app:\n def __init__(self, scope): ...\n", "site_app:app"),
        ("def app(scope): ...", "site_app:app"),
        ("import functools\nasync def f(x, scope, receive, send): ...\napp = functools.partial(f, 1)", "site_app"),
    ],
)
def test_an_asgi_application_is_recognised(write: Write, load: Load, source: str, reference: str) -> None:
    write(source)
    error = str(failure(load, reference))
    assert "an ASGI application, and greenserve serves WSGI" in error
    assert ("ASGIMiddleware(app)" in error) is ("()" not in reference)


@pytest.mark.parametrize(
    ("source", "reference", "why"),
    [
        ("async def app(environ, start_response): ...", "site_app:app", "write `def`, not `async def`"),
        ("def make(): ...", "site_app:make()", "is a `return` missing"),
        ("def create_app(config=None, debug=None): ...", "site_app:create_app", r"call it: site_app:create_app\(\)"),
        ("from site_inner import app\nimport site_inner as inner", "site_app:inner", "use site_inner:app"),
    ],
)
def test_what_to_write_instead_is_named(write: Write, load: Load, source: str, reference: str, why: str) -> None:
    write(WSGI, "site_inner.py")
    write(source)
    with pytest.raises(LoadError, match=why):
        load(reference)


@pytest.mark.parametrize("source", ["def (", "\0", "(" * 10_000, "x = 1"])
def test_files_that_are_no_help_do_no_harm(write: Write, load: Load, source: str) -> None:
    write(source, "site_bad.py")
    assert "no module 'zebra_q'" in str(failure(load, "zebra_q"))
