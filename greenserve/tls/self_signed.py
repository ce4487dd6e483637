"""Certificates for trying things out, made by trustme, which the extra `greenserve[tls]` installs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenserve.errors import ConfigurationError

NAMES = ("localhost", "127.0.0.1", "::1")


@contextmanager
def files() -> Iterator[dict[str, str]]:
    """Options of a server with a certificate for this machine alone; `ca.pem` beside its files is its authority.

    They are removed at the end. Raises ConfigurationError when trustme is not installed.
    """
    try:
        import trustme  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(
            "--tls makes a certificate by trustme, which is not installed: pip install 'greenserve[tls]', or name a "
            "certificate by --tls-cert and --tls-key"
        ) from None
    with tempfile.TemporaryDirectory(prefix="greenserve-") as name:  # which only its user may read
        directory = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / "ca.pem")
        authority.issue_cert(*NAMES).private_key_and_cert_chain_pem.write_to_path(directory / "localhost.pem")
        pair = str(directory / "localhost.pem")
        yield {"tls_cert": pair, "tls_key": pair}
