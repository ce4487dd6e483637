"""`greenserve check`: everything that decides how an application will be served, and what looks wrong in it.

A report is made of sections, and a section of one function in SECTIONS: a new subject to report on is a new function.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from wsgiref.types import WSGIApplication

from greenserve import codec, static, tls
from greenserve.cli.startup import load, prepare, without_arguments
from greenserve.errors import ConfigurationError, LoadError
from greenserve.net import unix_socket
from greenserve.net.bind_errors import who_listens, who_listens_at
from greenserve.patching import drivers, existing_locks, monkey, other_hubs
from greenserve.patching.table import STAYS_BLOCKING, TABLE
from greenserve.process.pid_file import PidFile, living
from greenserve.process.user import become, find
from greenserve.server import machine, proxied
from greenserve.server.accesslog import check_access_log
from greenserve.server.error_pages import read_error_pages
from greenserve.server.member import resident
from greenserve.server.share import share, wanted
from greenserve.settings import OPTIONS, Resolution, TcpAddress, UnixAddress
from greenserve.version import VERSION
from greenserve.workers.advice import advice, mebibytes, outgrown, too_large
from greenserve.workers.hooks import Hooks

# Seconds from SIGTERM to SIGKILL where a pod does not set its terminationGracePeriodSeconds, which it cannot see.
_KUBERNETES_GRACE = 30
_UNLIMITED = 2**31  # open files
_DEPENDENCIES = ("greenlet", "h11", "wsproto", "click")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined: the settings, and the application, if one is named, or the error that kept it from loading."""

    reference: str | None
    resolution: Resolution
    application: WSGIApplication | None
    error: LoadError | None


@dataclass(frozen=True, slots=True)
class Line:
    """One finding: what it is called, its value, and what there is to add (a setting's origin)."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """The findings on one subject. A warning leaves the exit code 0, an error makes it 1."""

    title: str
    lines: tuple[Line, ...]
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All sections, in the order of SECTIONS."""

    sections: tuple[Section, ...]

    @property
    def warnings(self) -> list[str]:
        """The warnings of every section."""
        return [warning for section in self.sections for warning in section.warnings]

    @property
    def errors(self) -> list[str]:
        """The errors of every section."""
        return [error for section in self.sections for error in section.errors]

    @property
    def ok(self) -> bool:
        """Whether the application could be served."""
        return not self.errors


def examine(reference: str | None, resolution: Resolution) -> Report:
    """Prepare and load as `serve` would, then report. Raises ConfigurationError for a bad directory or user."""
    prepare(resolution)
    settings = resolution.settings
    user = find(settings.user, settings.group)
    sections: dict[Callable[[Subject], Section], Section] = {}
    if user is not None:  # what root reads when it serves; the application is never root's
        sections = {section: section(Subject(reference, resolution, None, None)) for section in BY_ROOT}
        become(user)
    application = error = None
    if reference is not None:
        try:
            with without_arguments():
                application = load(reference)
        except LoadError as failure:
            error = failure
    subject = Subject(reference, resolution, application, error)
    return Report(tuple(sections.get(section) or section(subject) for section in SECTIONS))


def _application(subject: Subject) -> Section:
    lines = [Line("APP", subject.reference or "none"), Line("directory", os.getcwd())]  # noqa: PTH109 - a text is wanted
    if subject.application is not None:
        lines.append(Line("loaded", _describe(subject.application)))
    found = [subject.error]
    warnings = []
    try:
        hooks = Hooks(subject.resolution.settings, os.getpid())
        warnings = hooks.warnings
        if hooks:
            lines.append(Line("hooks", ", ".join(hooks.names)))
    except LoadError as error:
        found.append(error)
    errors = [f"{error}\n{error.details}".rstrip() for error in found if error is not None]
    return Section("application", tuple(lines), tuple(warnings), tuple(errors))


def _describe(application: WSGIApplication) -> str:
    kind = application if inspect.isroutine(application) or inspect.isclass(application) else type(application)
    name = f"{kind.__module__}.{getattr(kind, '__qualname__', kind)}"
    return name if kind is application else f"an instance of {name}"


def _settings(subject: Subject) -> Section:
    shown, origins = subject.resolution.settings.shown(), subject.resolution.origins
    lines = [Line("file", str(subject.resolution.file or "none"))]
    for option in OPTIONS.values():
        lines.append(Line(option.name, shown[option.name], str(origins[option.name])))
    return Section("settings", tuple(lines), warnings=subject.resolution.warnings)


def _addresses(subject: Subject) -> Section:
    settings = subject.resolution.settings
    lines: list[Line] = []
    warnings: list[str] = []
    errors: list[str] = []
    try:
        proxied.check(settings)
    except ConfigurationError as error:
        errors.append(str(error))
    for address in settings.bind:
        holder = None
        if isinstance(address, TcpAddress) and address.port:
            holder = who_listens(address.host, address.port)
        elif isinstance(address, UnixAddress):
            holder = who_listens_at(address.path)
            try:
                unix_socket.owner(address.access.over(settings.socket_access))
            except OSError as error:
                errors.append(f"cannot listen on {address}: {error.strerror}")
        lines.append(Line(str(address), f"in use by {holder}" if holder else "free as far as can be told"))
        if holder:
            # Not an error: the server that runs there may be this application's own.
            warnings.append(f"{address} is in use by {holder}; greenserve cannot listen there as well")
    return Section("addresses", tuple(lines), tuple(warnings), tuple(errors))


def _static(subject: Subject) -> Section:
    lines, errors = [], []
    for mount in subject.resolution.settings.static:
        try:
            static.check([mount])
        except ConfigurationError as error:
            errors.append(str(error))
        lines.append(Line(mount.prefix or "/", str(Path(mount.directory).absolute())))
    return Section("static files", tuple(lines), errors=tuple(errors))


def _tls(subject: Subject) -> Section:
    settings = subject.resolution.settings
    try:
        tls.check(settings)
        contexts = tls.Contexts(settings) if tls.is_on(settings) else None
    except ConfigurationError as error:
        return Section("TLS", (), errors=(f"{error}\n{getattr(error, 'details', '')}".rstrip(),))
    if contexts is None:
        return Section("TLS", (Line("certificates", "none: all addresses speak plain HTTP"),))
    spoken = [str(tls.with_scheme(address, on=True)) for address in settings.bind]
    lines = [Line("addresses", ", ".join(spoken))]
    for each in contexts.certificates:
        until = time.strftime("%Y-%m-%d", time.gmtime(each.not_after))
        chain = "without further certificates" if each.chain == 1 else f"{each.chain} certificates"
        note = f"valid until {until}, issued by {each.issuer}, {chain}"
        lines.append(Line(str(each.pair), ", ".join(each.names) or "no names", note))
    return Section("TLS", tuple(lines), warnings=tuple(contexts.notes()))


def _pages_and_logs(subject: Subject) -> Section:
    settings = subject.resolution.settings
    lines, errors = [], []
    try:
        statuses = sorted(read_error_pages(settings.error_pages))
        lines.append(Line("error pages", ", ".join(map(str, statuses)) or "the server's own"))
        check_access_log(settings)
        lines.append(Line("access log", str(settings.access_log or "none")))
    except ConfigurationError as error:
        errors.append(str(error))
    return Section("error pages and logs", tuple(lines), errors=tuple(errors))


def _process(subject: Subject) -> Section:
    settings = subject.resolution.settings
    lines, warnings, errors = [], [], []
    user = find(settings.user, settings.group)
    lines.append(Line("user", f"uid {os.geteuid()}, gid {os.getegid()}" if user is None else f"root, then {user}"))
    if settings.pid_file is not None:
        pid_file = PidFile(settings.pid_file)
        try:
            pid = living(pid_file.path)
            lines.append(Line("pid file", str(pid_file.path), "" if pid is None else f"of process {pid}"))
            if pid is None:
                pid_file.check()
            else:  # as an address in use: it may be this application's own
                warnings.append(f"{pid_file.path} is of greenserve, process {pid}; another one cannot have it as well")
        except ConfigurationError as error:
            errors.append(str(error))
    return Section("process", tuple(lines), tuple(warnings), tuple(errors))


def _workers(subject: Subject) -> Section:
    settings = subject.resolution.settings
    workers = wanted(settings)
    held = resident()  # by this process, which is about as large as a worker
    loaded = held and subject.application is not None
    part = share(settings, workers, _most_files())
    lines = [Line("workers", str(workers), "one process, without a supervisor" if workers == 1 else "")]
    if loaded:
        lines.append(Line("memory", mebibytes(held), f"with the application; of {mebibytes(machine.memory())}"))
    if workers > 1:
        names = [name for name in OPTIONS if getattr(part, name) != getattr(settings, name) and name != "workers"]
        lines += [Line(name, OPTIONS[name].kind.show(getattr(part, name)), "of each worker") for name in names]
    warnings = advice(subject.resolution)
    if loaded and (why := too_large(settings, held)):
        warnings.append(why)
    errors = [why] if loaded and (why := outgrown(settings, held)) else []
    return Section("workers", tuple(lines), tuple(warnings), tuple(errors))


def _environment(subject: Subject) -> Section:
    settings = subject.resolution.settings
    lines = [
        Line("greenserve", VERSION),
        Line("Python", f"{platform.python_implementation()} {platform.python_version()}", sys.executable),
        Line("codec", codec.NAME.removesuffix(" codec"), codec.REASON),
        *(Line(name, importlib.metadata.version(name)) for name in _DEPENDENCIES),
        Line("platform", platform.platform()),
        Line("processors", str(machine.processors()), f"of {os.cpu_count()}"),
    ]
    warnings = [codec.FAULT] if codec.FAULT else []
    limit = _most_files()
    unlimited = limit == _UNLIMITED
    lines.append(Line("open files", "unlimited" if unlimited else str(limit)))
    workers = wanted(settings)
    most = settings.max_connections or workers * machine.connections(settings.max_head, limit, workers)
    lines.append(Line("connections", str(most), "max_connections" if settings.max_connections else "as many as fit"))
    own = ceil((settings.max_connections or 0) / workers)
    for name, count in (("concurrency", settings.concurrency), ("max_connections", own)):
        needed = count + machine.RESERVED_FILES
        if not unlimited and limit < needed:
            what = "requests" if name == "concurrency" else "connections"
            warnings.append(
                f"{limit} open files are too few for {count} {what} at once: raise the hard limit (systemd: "
                f"LimitNOFILE={needed}, Docker: --ulimit nofile={needed}) or lower {OPTIONS[name].flag}"
            )
    if (why := machine.short_queue(settings.backlog)) is not None:
        warnings.append(why)
    if workers > 1 and not unlimited and workers * limit > (all_files := machine.files_of_all()):
        warnings.append(
            f"{workers} workers with {limit} open files each are more than the {all_files} of the whole machine: raise "
            "fs.file-max, or lower the hard limit"
        )
    ending = settings.drain_delay + settings.graceful_timeout
    if ending > _KUBERNETES_GRACE and "KUBERNETES_SERVICE_HOST" in os.environ:
        warnings.append(
            f"drain_delay and graceful_timeout are {ending:g} seconds together; Kubernetes kills after "
            f"{_KUBERNETES_GRACE}, unless the pod has a longer terminationGracePeriodSeconds"
        )
    errors = []
    try:
        codec.check()
    except ConfigurationError as error:
        errors.append(str(error))
    return Section("environment", tuple(lines), tuple(warnings), tuple(errors))


def _most_files() -> int:
    """How many files a process may open: the hard limit, to which the server raises the soft one."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if limit == resource.RLIM_INFINITY else limit


def _patching(subject: Subject) -> Section:
    if not subject.resolution.settings.patch:
        return Section(
            "patching",
            (Line("standard library", "not patched"),),
            warnings=(
                "the standard library is not patched: a blocking call in the application (time.sleep, requests, a "
                "database driver) stops every request meanwhile",
                *other_hubs.warnings,
            ),
        )
    groups = ", ".join(group for group in TABLE if monkey.is_monkey_patched(group))
    locks = existing_locks.original_locks()
    lines = [
        Line("standard library", "patched before the application was imported", groups),
        Line("imported before that", ", ".join(monkey.report.early) or "nothing"),
        Line("still blocking", ", ".join(monkey.report.held) or "nothing"),
        Line("locks that stayed real", ", ".join(locks) or "none"),
        Line("cannot be patched", ", ".join(STAYS_BLOCKING)),
    ]
    warnings = [f"{name} was imported before the patch and still blocks" for name in monkey.report.held]
    warnings += [f"{name} is not a green lock: a request that waits for it stops all others" for name in locks]
    warnings += other_hubs.warnings
    for driver in drivers.imported():
        lines.append(Line(driver.package, driver.waits.value, driver.note))
        if driver.waits is drivers.Waits.BLOCKING:
            warnings.append(f"{driver.package} {driver.waits.value} while it waits; {driver.note}")
    return Section("patching", tuple(lines), tuple(warnings))


SECTIONS: list[Callable[[Subject], Section]] = [
    _application,
    _settings,
    _addresses,
    _tls,
    _static,
    _pages_and_logs,
    _process,
    _workers,
    _environment,
    _patching,
]
BY_ROOT: list[Callable[[Subject], Section]] = [_addresses, _tls, _process]


def as_text(report: Report) -> str:
    """The report for people."""
    parts = []
    for section in report.sections:
        width = max((len(line.name) for line in section.lines), default=0)
        parts.append(section.title)
        for line in section.lines:
            note = f"  ({line.note})" if line.note else ""
            value = line.value.replace("\n", f"\n{'':{width + 4}}")  # a setting of several lines: header
            parts.append(f"  {line.name:<{width}}  {value}{note}")
        parts.append("")
    parts += [f"warning: {warning}" for warning in report.warnings]
    parts += [f"error: {error}" for error in report.errors]
    parts.append("not ok" if report.errors else "ok")
    return "\n".join(parts)


def as_json(report: Report) -> str:
    """The report for programs: ok, warnings, errors, and for each section its findings by name."""
    sections = {
        section.title: {line.name: {"value": line.value, "note": line.note} for line in section.lines}
        for section in report.sections
    }
    document = {"ok": report.ok, "sections": sections, "warnings": report.warnings, "errors": report.errors}
    return json.dumps(document, indent=2, ensure_ascii=False)
