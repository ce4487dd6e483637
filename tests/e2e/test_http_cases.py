"""Raw requests from the suites of other servers, played against the installed command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", [(), ("--fragment", "1")], ids=["whole", "octet-by-octet"])
def test_no_case_of_the_http_corpus_fails(start_server, http_cases: Path, how: tuple[str, ...]) -> None:
    server = start_server("echo_app:app", cwd=http_cases)
    ran = subprocess.run(
        [
            *(sys.executable, str(http_cases / "run_http_cases.py"), f"{server.host}:{server.port}"),
            *("--cases", str(http_cases), "--pid", str(server.pid), *how),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert " 0 failed (strict:" in ran.stdout, ran.stdout
    assert "Traceback" not in server.output
