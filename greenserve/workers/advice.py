"""What does not fit together among the settings of workers, or into this machine; each text says what to do instead.

The start says it in its log, and `check` in its report.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from greenserve.server import machine
from greenserve.server.share import wanted
from greenserve.settings import OPTIONS, Origin, Resolution, Settings, Source

CROWD = 2  # workers for each processor; more of them only take memory
_MANAGERS = {"NOTIFY_SOCKET": "systemd", "KUBERNETES_SERVICE_HOST": "Kubernetes"}  # by what they set
BRIEF = 5.0  # seconds; on a machine that is busy a process may be held up for as long without a fault


def advice(resolution: Resolution) -> list[str]:
    """What can be said without the application."""
    settings, origins = resolution.settings, resolution.origins
    workers = wanted(settings)
    about_reload = list(_reloading(resolution))
    if workers == 1 and not settings.reload:
        return [*about_reload, *_needless(resolution)]
    return [*about_reload, *_numbers(settings, workers, origins["workers"]), *_times(settings, resolution)]


def outgrown(settings: Settings, held: int) -> str | None:
    """Where a worker would be replaced as soon as it is ready, again and again. held: bytes, once all is loaded."""
    if wanted(settings) == 1 or settings.max_worker_memory is None or held <= settings.max_worker_memory:
        return None
    return (
        f"max_worker_memory ({mebibytes(settings.max_worker_memory)}) is less than the application takes at its start "
        f"({mebibytes(held)}), so each worker is replaced at once: raise it to twice that, or leave it out"
    )


def too_large(settings: Settings, held: int) -> str | None:
    """Where so many workers may not fit into the memory. held: bytes of one, once all is loaded."""
    workers = wanted(settings)
    if workers == 1 or workers * held <= machine.memory():
        return None
    shared = "what they share counts once, but that becomes less" if settings.preload else "and share little (preload)"
    return (
        f"{workers} workers take {mebibytes(held)} each, {shared}; together they may need more than the memory of "
        f"{mebibytes(machine.memory())}: --workers {max(1, machine.memory() // held)} would fit"
    )


def mebibytes(size: int) -> str:
    """As people read it."""
    return f"{size >> 20} MiB"


def _needless(resolution: Resolution) -> Iterator[str]:
    for option in OPTIONS.values():
        if option.supervised and getattr(resolution.settings, option.name) != option.default:
            yield (
                f"{option.name} (from {resolution.origins[option.name]}) has no effect with one worker, which has no "
                "supervisor: start --workers 2 or more, or leave it out"
            )


def _reloading(resolution: Resolution) -> Iterator[str]:
    settings, origins = resolution.settings, resolution.origins
    if not settings.reload:
        for name in ("reload_include", "reload_exclude", "reload_dir"):
            if getattr(settings, name):
                yield f"{name} (from {origins[name]}) has no effect without reload: add --reload, or leave it out"
        return
    manager = next((name for variable, name in _MANAGERS.items() if variable in os.environ), None)
    if manager is not None:
        yield (
            f"reload (from {origins['reload']}) is for development, and {manager} runs this: clients see tracebacks, "
            "and requests wait at each change of a file; leave it out, and have SIGHUP reload what was installed"
        )
    if settings.ready_path is not None:
        yield (
            f"ready_path (from {origins['ready_path']}) has no effect with reload, which serves a page where the "
            "application cannot answer: leave one of them out"
        )


def _numbers(settings: Settings, workers: int, origin: Origin) -> Iterator[str]:
    processors = machine.processors()
    if workers > CROWD * processors:
        yield (
            f"{workers} workers (from {origin}) are more than {CROWD} for each processor, of which there "
            f"{'is 1' if processors == 1 else f'are {processors}'}: they take memory and make nothing faster, since "
            "each serves thousands of requests at once; --workers auto starts as many as there are processors"
        )
    most = settings.max_worker_memory
    if most is not None and workers * most > machine.memory():
        yield (
            f"max_worker_memory allows {workers} workers {mebibytes(most)} each, together more than the memory of "
            f"{mebibytes(machine.memory())}: lower it to {(machine.memory() >> 20) // workers}M, or have fewer workers"
        )
    if settings.max_requests_jitter and settings.max_requests is None:
        yield "max_requests_jitter has no effect without max_requests: give that, too, or leave it out"


def _times(settings: Settings, resolution: Resolution) -> Iterator[str]:
    grace = settings.graceful_timeout
    if 0 < settings.worker_timeout < BRIEF:
        yield (
            f"worker_timeout is {settings.worker_timeout:g} s: a busy machine may hold up a worker for so long without "
            f"any fault, and then it is killed with all its requests; {BRIEF:g} s or more is safe"
        )
    if settings.drain_spread > grace / 2 and resolution.origins["drain_spread"].source is not Source.DEFAULT:
        yield (
            f"drain_spread ({settings.drain_spread:g} s) is cut to half of graceful_timeout ({grace:g} s): raise that "
            f"to {2 * settings.drain_spread:g} s, or lower drain_spread"
        )
    if settings.max_worker_age is not None and settings.max_worker_age < grace:
        yield (
            f"max_worker_age ({settings.max_worker_age:g} s) is less than graceful_timeout ({grace:g} s): there may be "
            "more workers that end than such that serve; raise it to an hour or so"
        )
