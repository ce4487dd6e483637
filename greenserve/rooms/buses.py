"""From the setting `rooms` to a bus."""

from __future__ import annotations

from pathlib import Path

from greenserve.errors import ConfigurationError
from greenserve.rooms.bus import Bus
from greenserve.rooms.unix.bus import UnixBus
from greenserve.settings import conceal_url


def make_bus(address: str) -> Bus:
    """The bus of an address as the setting has it: unix:PATH, redis://..., rediss://...

    Raises ConfigurationError when a library is missing, or the address is invalid.
    """
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        if path.exists() and not path.is_socket():
            raise ConfigurationError(
                f"rooms = {address}: {path} is not a socket, and is left as it is; name another path"
            )
        return UnixBus(str(path))
    if not address.startswith(("redis://", "rediss://")):
        raise ConfigurationError(f"rooms = {conceal_url(address)!r}: use unix:PATH or redis://HOST:PORT/DB")
    try:
        from greenserve.rooms.redis import RedisBus  # noqa: PLC0415 - redis-py is an extra, and takes 100 ms to import
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise ConfigurationError(
            "rooms over Redis need redis-py: pip install 'greenserve[redis]', or pip install redis"
        ) from error
    return RedisBus(address)
