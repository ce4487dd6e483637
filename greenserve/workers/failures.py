"""The supervisor is told why a process of its own ends before it serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from greenserve.supervisor.channel import Channel, channel_of
from greenserve.supervisor.handed import TO_TEMPLATE, take


@contextmanager
def failures_told_to(channel: Channel) -> Iterator[None]:
    """Tell the supervisor why the process ends, if it does so before it serves."""
    try:
        yield
    except Exception as error:
        channel.send_failure(error)
        raise


@contextmanager
def early_failures_told() -> Iterator[None]:
    """The same for what fails before the process has asked for what it is handed."""
    try:
        yield
    except Exception as error:
        told = take(TO_TEMPLATE)
        if told is not None:
            channel_of(told.channel, blocking=False).send_failure(error)
        raise
