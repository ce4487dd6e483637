"""Fixtures of the tests of TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tls.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority whose certificate is in tmp_path/ca.pem."""
    return Authority(tmp_path)
