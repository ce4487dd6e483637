"""From the setting `rooms` to a bus."""

from __future__ import annotations

from greenserve.errors import ConfigurationError
from greenserve.rooms.bus import Bus
from greenserve.rooms.unixbus import UnixBus


def make_bus(address: str) -> Bus:
    """The bus of an address as the setting has it: unix:PATH, redis://..., rediss://...

    Raises ConfigurationError when a library is missing, or the address will not do.
    """
    if address.startswith("unix:"):
        return UnixBus(address.removeprefix("unix:"))
    if not address.startswith(("redis://", "rediss://")):
        raise ConfigurationError(f"rooms = {address!r}: use unix:PATH or redis://HOST:PORT/DB")
    try:
        from greenserve.rooms.redisbus import RedisBus  # noqa: PLC0415 - redis-py is an extra, and takes 100 ms to import
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise ConfigurationError(
            "rooms over Redis need redis-py: pip install 'greenserve[redis]', or pip install redis"
        ) from error
    return RedisBus(address)
