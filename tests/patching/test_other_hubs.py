"""Applications written for Eventlet and gevent: their calls that patch are without effect, and it is said where.

The libraries are stand-ins with the modules and names of the real ones: installed beside python-engineio, which takes
whichever it finds, these would change what other tests test.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server_process import run_command

EVENTLET = {
    "__init__.py": """
        from eventlet import patcher
        from eventlet.hubs.hub import BaseHub
        monkey_patch = patcher.monkey_patch
        def sleep(seconds): BaseHub()
    """,
    "patcher.py": """
        already_patched = {}
        def monkey_patch(**on):
            import time
            time.sleep, already_patched["time"] = None, True
        def patch_function(function): return function
    """,
    "hubs/__init__.py": "",
    "hubs/hub.py": "class BaseHub: pass",
    "support/__init__.py": "",
    "support/psycopg2_patcher.py": "def make_psycopg_green(): raise RuntimeError('a second hub')",
}
GEVENT = {
    "__init__.py": """
        def sleep(seconds):
            from gevent.hub import Hub
            Hub()
    """,
    "hub.py": "class Hub: pass",
    "monkey/__init__.py": """
        saved = {}
        def patch_time():
            import time
            time.sleep, saved["time"] = None, {}
        patch_all = patch_socket = patch_thread = lambda **_: patch_time()
        def is_module_patched(name): return name in saved
    """,
}
PSYCOGREEN = {"__init__.py": "", "gevent.py": "def patch_psycopg(): raise RuntimeError('a second hub')"}

CALLS = [
    "import eventlet; eventlet.monkey_patch()",
    "import eventlet as e; e.monkey_patch(os=False)",
    "from eventlet import monkey_patch; monkey_patch(all=True)",
    "from eventlet import patcher; patcher.monkey_patch()",
    "from eventlet.patcher import monkey_patch as patch; patch()",
    "from eventlet.support import psycopg2_patcher; psycopg2_patcher.make_psycopg_green()",
    "from gevent import monkey; monkey.patch_all()",
    "import gevent.monkey; gevent.monkey.patch_all(thread=False)",
    "from gevent.monkey import patch_all; patch_all()",
    "from gevent import monkey; monkey.patch_socket()",
    "from psycogreen.gevent import patch_psycopg; patch_psycopg()",
]

APP = """
import time

def app(environ, start_response):
    time.sleep(0)
    start_response("200 OK", [])
    return []
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """One with the libraries, from which programs are started."""
    for package, files in {"eventlet": EVENTLET, "gevent": GEVENT, "psycogreen": PSYCOGREEN}.items():
        for name, text in files.items():
            path = tmp_path / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(line.removeprefix(" " * 8) for line in text.splitlines()))
    return tmp_path


def run(directory: Path, program: str) -> subprocess.CompletedProcess[str]:
    (directory / "program.py").write_text(program)
    return run_command(executable=(sys.executable, "-W", "error", "program.py"), cwd=directory)


@pytest.mark.parametrize("call", CALLS)
def test_in_an_application_the_call_is_without_effect_and_named(directory: Path, call: str) -> None:
    (directory / "shop.py").write_text(f"{call}\n{APP}")
    done = run_command("check", "shop:app", cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (done.stdout, done.stderr):
        assert f"{directory / 'shop.py'}, line 1: " in said
        assert "is without effect" in said
        assert "remove the call" in said


@pytest.mark.parametrize("call", CALLS)
def test_in_a_module_that_the_application_imports_and_without_patching_too(directory: Path, call: str) -> None:
    (directory / "config.py").write_text(f"\n\ndef load():\n    {call}\n")
    (directory / "shop.py").write_text(f"import config\nconfig.load()\n{APP}")
    done = run_command("check", "shop:app", "--no-patch", cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{directory / 'config.py'}, line 4: " in done.stdout


@pytest.mark.parametrize("call", CALLS)
def test_in_a_program_that_greenserve_has_patched(directory: Path, call: str) -> None:
    done = run(directory, f"import greenserve\ngreenserve.monkey_patch()\n{call}\nimport time\ntime.sleep(0)")
    assert done.returncode == 0, done.stderr
    assert "program.py, line 3: " in done.stderr


def test_imported_before_they_are_without_effect_too(directory: Path) -> None:
    done = run(
        directory,
        """
import eventlet, gevent.monkey, greenserve
greenserve.monkey_patch()
eventlet.monkey_patch(), eventlet.patcher.monkey_patch(), gevent.monkey.patch_all()
assert eventlet.patcher.patch_function(len) is len
assert not gevent.monkey.is_module_patched("time")
greenserve.monkey_patch()  # twice is harmless
""",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("line 4: ") == 3


PATCHED_BEFORE = [
    "import eventlet; eventlet.monkey_patch()\nimport greenserve\n",
    "import gevent.monkey; gevent.monkey.patch_time()\nimport greenserve\n",
    "import greenserve, eventlet; eventlet.monkey_patch()\ngreenserve.monkey_patch()",
    "import greenserve, eventlet; eventlet.monkey_patch()\nwith greenserve.Server(print, bind='127.0.0.1:0'): pass",
    "import greenserve, gevent.monkey; gevent.monkey.patch_all()\ngreenserve.serve(print, bind='127.0.0.1:0')",
]


@pytest.mark.parametrize("program", PATCHED_BEFORE)
def test_what_they_have_patched_already_is_refused_with_the_call_to_remove(directory: Path, program: str) -> None:
    done = run(directory, program)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert (
        "remove the call of eventlet.monkey_patch()" if "eventlet" in program else "gevent.monkey.patch_all()"
    ) in last


@pytest.mark.parametrize("library", ["eventlet", "gevent"])
def test_waiting_in_their_hub_is_named_once(directory: Path, library: str) -> None:
    waiting = f"import {library}\nfor _ in range(3):\n    {library}.sleep(0)\n"
    done = run(directory, f"import greenserve\ngreenserve.monkey_patch()\n{waiting}")
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"program.py, line 5: {library}'s own hub starts here" in line
    assert f"docs/from_{library}.md" in line
