"""From the text `module:attribute` to the WSGI application it names, and a clear sentence where that fails.

It is not part of `wsgi`, which is given a callable: the command loads an application, and so will each worker process.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, cast
from wsgiref.types import WSGIApplication

from greenserve.errors import LoadError
from greenserve.loading.candidates import DEFAULT_ATTRIBUTES, any_of, in_directory, in_file, in_module, is_asgi

FORMS = "`module:attribute`, `module` (its `application` or `app`) or a factory, `module:make_app()`"
_FACTORIES = ("create_app", "make_app", "create_application", "make_application", "get_wsgi_application")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed APP: where the application is, and, for a factory, the literal arguments to call it with.

    is_application: False for a module or a function that a setting names in the same way.
    """

    text: str
    module: str
    attributes: tuple[str, ...] = ()
    is_factory: bool = False
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    is_application: bool = True


def parse_reference(text: str) -> Reference:
    """Parse APP. Raises LoadError with the right form where the text has another."""
    module, colon, expression = text.strip().partition(":")
    _refuse_files(text, module, expression)
    if not _MODULE.fullmatch(module):
        raise _malformed(text, f"{module!r} is not a module name")
    if not colon:
        return Reference(text, module)
    try:
        node = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise _malformed(text, f"{expression!r} is neither an attribute nor a call") from None
    if not isinstance(node, ast.Call):
        return Reference(text, module, _dotted(text, node))
    try:
        args = tuple(ast.literal_eval(argument) for argument in node.args)
        kwargs = {_keyword(each): ast.literal_eval(each.value) for each in node.keywords}
    except ValueError:
        raise LoadError(
            f"the arguments of the factory in {text!r} are not all literals, as in module:make_app('name', debug=False)"
        ) from None
    return Reference(text, module, _dotted(text, node.func), is_factory=True, args=args, kwargs=kwargs)


def load_application(text: str, directory: str | None = None) -> WSGIApplication:
    """Import and return the application that `text` names.

    directory: put first on sys.path, so that modules there are found (default: the working directory).
    Raises LoadError, whose `details` is the application's own traceback where its code raised.
    """
    directory = on_path(directory)
    reference = parse_reference(text)
    module = import_module_of(reference, directory)
    target = find(reference, module, directory)
    if reference.is_factory:
        target = _call_factory(reference, target)
    _check(reference, target)
    return cast("WSGIApplication", target)


def on_path(directory: str | None) -> str:
    """Put a directory (default: the working directory) first on sys.path, unless it is there. Returns its full path."""
    directory = str(Path(directory or ".").resolve())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    return directory


# Parsing


def _refuse_files(text: str, module: str, expression: str) -> None:
    """`path/app.py` is what a shell completes, so it is the commonest mistake; the error names it as a module."""
    if not (module.endswith(".py") or "/" in module or os.sep in module or module in (".", "..")):
        return
    if Path(module).is_dir():
        raise LoadError(f"{text!r} is a directory; {_in_directory(module)}")
    parent, name = os.path.split(module.removesuffix(".py"))
    if not parent and not Path(module).exists():  # `mysite.wsgi.py`: a module's name and a file's at once
        parent, name = os.path.split(name.replace(".", os.sep))
    file = Path(parent, f"{name}.py")
    names = in_file(file, asgi=True)
    if not names and not expression and file.exists():
        raise LoadError(f"{text!r} is a file that defines no application; {_in_directory(parent or '.')}")
    raise LoadError(
        f"{text!r} is a path; an application is named as a module: "
        + any_of([_as_module(parent, f"{name}:{each}") for each in ([expression] if expression else names or ["app"])])
    )


def _in_directory(directory: str) -> str:
    """The end of an error: how to name an application that is in a directory."""
    found = in_directory(Path(directory))
    if not found:
        return f"no application is defined at the top level of the files there. The forms are {FORMS}"
    is_package = Path(directory, "__init__.py").exists()
    names = [_as_module(directory, each) if is_package else _with_chdir(directory, each) for each in found]
    return f"an application is named as a module: {any_of(names)}"


def _as_module(directory: str, name: str) -> str:
    """`name`, an application in `directory`, as it is written in the working directory."""
    inner = os.path.normpath(directory) if directory else "."
    if Path(inner).is_absolute() or inner.startswith(".."):
        return _with_chdir(directory, name)
    return name if inner == "." else f"{inner.replace(os.sep, '.')}.{name}"


def _with_chdir(directory: str, name: str) -> str:
    return name if os.path.normpath(directory) == "." else f"--chdir {directory} {name}"


def _dotted(text: str, node: ast.expr) -> tuple[str, ...]:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise _malformed(text, "a dotted name must follow the colon")
    return (node.id, *reversed(names))


def _malformed(text: str, why: str) -> LoadError:
    return LoadError(f"{text!r} does not name an application: {why}. The forms are {FORMS}")


def _keyword(keyword: ast.keyword) -> str:
    if keyword.arg is None:
        raise ValueError("** is not a literal")
    return keyword.arg


# Importing


def import_module_of(reference: Reference, directory: str) -> ModuleType:
    """The module of a reference, imported. directory: where it is looked for, for errors. Raises LoadError."""
    try:
        return importlib.import_module(reference.module)
    except ImportError as error:
        frame = _own_frame(error.__traceback__)
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if frame is None and missing is not None and (reference.module + ".").startswith(missing + "."):
            raise LoadError(_not_found(reference, missing, directory)) from None
        raise _failed_import(reference, error, frame) from error
    except SyntaxError as error:
        place = f"{error.filename}, line {error.lineno}" if error.filename else "its source"
        raise LoadError(f"{reference.module!r} has a syntax error in {place}: {error.msg}", _details(error)) from error
    except (Exception, SystemExit) as error:
        raise raised(f"importing {reference.module!r}", error) from error


def _not_found(reference: Reference, missing: str, directory: str) -> str:
    """Where the module was looked for, and what is there that looks like it."""
    parent, _, last = missing.rpartition(".")
    package = sys.modules.get(parent)
    if package is not None and not hasattr(package, "__path__"):
        if hasattr(package, last):
            return f"{parent!r} is a module, not a package; did you mean {parent}:{last}?"
        return f"there is no module {missing!r}: {parent!r} is a module ({_origin(package)}), not a package"
    searched = list(package.__path__) if package is not None else [directory]
    there = sorted(info.name for info in pkgutil.iter_modules(searched))
    near = difflib.get_close_matches(last, there, n=1)
    where = f"there is no module {missing!r} in {', '.join(searched)}" + (
        "" if parent else " or the installed packages"
    )
    if near:
        full = f"{parent}.{near[0]}" if parent else near[0]
        return f"{where}; did you mean {full}{reference.text.strip().removeprefix(missing)}?"
    seen = "its modules are " + ", ".join(there[:10]) + (", ..." if len(there) > 10 else "")
    if not there:
        return f"{where}; it contains no modules: name the application's directory with --chdir DIR"
    found = in_directory(Path(directory))
    return f"{where}; {seen}" + (f"; use {any_of(found)}" if found and reference.is_application else "")


def _failed_import(reference: Reference, error: ImportError, frame: tuple[str, int] | None) -> LoadError:
    """The application's module exists, and an import in it (or deeper) failed."""
    place = f"{frame[0]}, line {frame[1]}," if frame else f"{reference.module!r}"
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return LoadError(
            f"{place} imports {error.name!r}, which cannot be found; install what provides it into this environment "
            f"({sys.prefix}), or correct the name"
        )
    return LoadError(f"{place} has an import that failed: {error}", _details(error))


def _own_frame(trace: TracebackType | None) -> tuple[str, int] | None:
    """File and line of the innermost frame that is neither importlib's nor this file's: the statement that failed."""
    frames = [frame for frame in traceback.extract_tb(trace) if not _is_machinery(frame.filename)]
    return (frames[-1].filename, frames[-1].lineno or 0) if frames else None


def _is_machinery(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")


# Finding and checking


def find(reference: Reference, module: ModuleType, directory: str) -> object:
    """What a reference names in its module. Raises LoadError."""
    if not reference.attributes:
        for name in DEFAULT_ATTRIBUTES:
            if hasattr(module, name):
                return getattr(module, name)
        raise LoadError(_no_default(module, directory))
    target: object = module
    for position, name in enumerate(reference.attributes):
        try:
            target = getattr(target, name)
        except AttributeError:
            owner = ".".join((module.__name__, *reference.attributes[:position]))
            near = _near_attribute(name, target)
            hint = f"; did you mean {near!r}?" if near else ""
            if not near and target is module and not any(hasattr(module, each) for each in DEFAULT_ATTRIBUTES):
                hint = _alternatives(module, directory)
            raise LoadError(f"{owner!r} ({_origin(module)}) has no attribute {name!r}{hint}") from None
        except Exception as error:  # a property or a module's __getattr__
            raise raised(f"reading {name!r} for {reference.text!r}", error) from error
    return target


def _no_default(module: ModuleType, directory: str) -> str:
    name = module.__name__
    text = f"{name!r} ({_origin(module)}) has neither `application` nor `app`"
    for factory in _FACTORIES:
        if callable(getattr(module, factory, None)):
            return f"{text}; it has a factory: use {name}:{factory}()"
    return text + (_alternatives(module, directory) or f"; name the attribute: {name}:ATTRIBUTE")


def _alternatives(module: ModuleType, directory: str) -> str:
    """The end of a hint: applications in the module, in its package, or else in the directory; or nothing."""
    name = module.__name__
    named = [f"{name}:{each}" for each in in_module(module)]
    inside = [each for path in getattr(module, "__path__", ()) for each in in_directory(Path(path), name)]
    if inside and getattr(module, "__file__", None) is None:  # a directory without __init__.py, and so not a package
        inside = [f"--chdir {name} {each.removeprefix(name + '.')}" for each in inside]
    found = named or inside or in_directory(Path(directory))
    return f"; use {any_of(found)}" if found else ""


def _near_attribute(name: str, owner: object) -> str | None:
    public = [each for each in dir(owner) if not each.startswith("_")]
    # `app` and `application` are not close by their letters, but each is easily written for the other.
    likely = [each for each in DEFAULT_ATTRIBUTES if name in DEFAULT_ATTRIBUTES and each in public]
    return next(iter(likely or difflib.get_close_matches(name, public, n=1)), None)


def _call_factory(reference: Reference, factory: object) -> object:
    name = ".".join(reference.attributes)
    if not callable(factory):
        raise LoadError(f"{name!r} in {reference.text!r} is {_type(factory)}, not a factory that can be called")
    try:
        target: object = factory(*reference.args, **reference.kwargs)
    except (Exception, SystemExit) as error:
        raise raised(f"the factory {name!r}", error) from error
    if not callable(target):
        hint = "; is a `return` missing?" if target is None else ""
        raise LoadError(f"the factory {name!r} returned {_type(target)}, which is not a WSGI application{hint}")
    return target


def _check(reference: Reference, target: object) -> None:
    text = reference.text
    if isinstance(target, ModuleType):
        names = in_module(target)
        hint = f"; use {any_of([f'{target.__name__}:{name}' for name in names])}" if names else ""
        raise LoadError(f"{text!r} is a module, not an application{hint}")
    if not callable(target):
        raise LoadError(
            f"{text!r} is {_type(target)}, not callable; a WSGI application is called with environ and start_response"
        )
    if is_asgi(target):
        raise LoadError(_asynchronous(reference, target))
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return  # a callable of C has none, and may well be a WSGI application
    try:
        signature.bind({}, None)
    except TypeError:
        raise LoadError(_wrong_signature(reference, signature)) from None
    if reference.attributes[-1:] and reference.attributes[-1] in _FACTORIES and not reference.is_factory:
        raise LoadError(f"{text!r} is a factory that takes {signature}; call it: {text.strip()}()")


def _asynchronous(reference: Reference, target: object) -> str:
    text = f"{reference.text!r} is asynchronous"
    names = list(inspect.signature(target).parameters)  # type: ignore[arg-type]  # it is callable
    if names[1:2] == ["start_response"]:
        return f"{text}; a WSGI application is called without `await`: write `def`, not `async def`"
    text += ", an ASGI application, and greenserve serves WSGI (PEP 3333)"
    package = reference.module.removesuffix(".asgi")
    if package != reference.module and _exists(f"{package}.wsgi"):
        return f"{text}; use {package}.wsgi:application"
    if reference.is_factory:
        return f"{text}; an ASGI server such as uvicorn serves it"
    attribute = ".".join(reference.attributes) or "app"
    return (
        f"{text}; an ASGI server such as uvicorn serves it, or make it a WSGI application in {reference.module}: "
        f"`from a2wsgi import ASGIMiddleware` (pip install a2wsgi) and `wsgi = ASGIMiddleware({attribute})`, then "
        f"{reference.module}:wsgi"
    )


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _wrong_signature(reference: Reference, signature: inspect.Signature) -> str:
    text = f"{reference.text!r} cannot be called with environ and start_response: it takes {signature}"
    try:
        signature.bind()
    except TypeError:
        return text
    if reference.is_factory or not reference.attributes:
        return text
    return f"{text}; if it is a factory, call it: {reference.text.strip()}()"


# Wording


def raised(what: str, error: BaseException) -> LoadError:
    """The LoadError for an exception of the application's code. what: it was doing."""
    if isinstance(error, SystemExit):
        return LoadError(f"{what} ended the program: sys.exit({error.code!r}) was called", _details(error))
    text = "".join(traceback.format_exception_only(error)).strip()
    return LoadError(f"{what} failed: {text}", _details(error))


def _details(error: BaseException) -> str:
    """The traceback from the application's first frame on: importlib's frames would only hide it."""
    trace = error.__traceback__
    while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _origin(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return file or ("a directory" if hasattr(module, "__path__") else "built in")


def _type(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
