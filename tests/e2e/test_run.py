"""`greenserve run`: a program as the interpreter runs it, but concurrent where it would block."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-m", "greenserve", "run")


def run(directory: Path, *arguments: str, command: tuple[str, ...] = COMMAND) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], cwd=directory, capture_output=True, text=True, timeout=50)


def written(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_program_is_patched_from_its_first_line(tmp_path: Path) -> None:
    written(
        tmp_path,
        "program.py",
        "import threading, time\n"
        "from time import sleep\n"
        "from greenserve import is_monkey_patched\n"
        "begun = time.monotonic()\n"
        "threads = [threading.Thread(target=sleep, args=(1,)) for _ in range(500)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(is_monkey_patched('thread'), time.monotonic() - begun < 100, threading.active_count())\n",
    )
    done = run(tmp_path, "program.py")
    assert (done.stdout, done.stderr, done.returncode) == ("True True 1\n", "", 0)


SHOW = """\
import sys, __main__
print(sys.argv, __name__, __file__, __main__ is sys.modules["__main__"])
def show(): pass
print(sys.path[0], __package__, __spec__ and __spec__.name, vars(__main__)["show"].__module__)
"""


@pytest.mark.parametrize(
    "arguments", [["here.py", "-x", "--help"], ["sub/here.py"], ["-m", "sub.here", "-m", "y"], ["-m", "sub"]]
)
def test_it_sees_what_it_sees_under_the_interpreter(tmp_path: Path, arguments: list[str]) -> None:
    for name in ("here.py", "sub/here.py", "sub/__main__.py"):
        written(tmp_path, name, SHOW)
    written(tmp_path, "sub/__init__.py", "")
    expected = run(tmp_path, *arguments, command=(sys.executable,))
    done = run(tmp_path, *arguments)
    assert (done.stdout, done.stderr, done.returncode) == (expected.stdout, "", 0)
    assert expected.stdout


def test_directories_and_zip_files_are_programs_too(tmp_path: Path) -> None:
    written(tmp_path, "app/__main__.py", "import part; print(part.WORD)")
    written(tmp_path, "app/part.py", "WORD = 'found'")
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.write(tmp_path / "app/__main__.py", "__main__.py")
        archive.write(tmp_path / "app/part.py", "part.py")
    for name in ("app", "app.pyz"):
        done = run(tmp_path, name)
        assert (done.stdout, done.stderr, done.returncode) == ("found\n", "", 0)


def test_threads_and_exit_handlers_outlive_the_last_line(tmp_path: Path) -> None:
    written(
        tmp_path,
        "program.py",
        "import atexit, threading, time\n"
        "WORD = 'late'\n"
        "def late():\n"
        "    time.sleep(0.05); print(WORD)\n"
        "threading.Thread(target=late).start()\n"
        "atexit.register(lambda: print(WORD, 'again'))\n",
    )
    assert run(tmp_path, "program.py").stdout == "late\nlate again\n"


@pytest.mark.parametrize(
    ("last", "code"), [("sys.exit(7)", 7), ("sys.exit('no')", 1), ("raise SystemExit", 0), ("1 / 0", 1), ("def", 1)]
)
def test_it_ends_as_under_the_interpreter(tmp_path: Path, last: str, code: int) -> None:
    written(tmp_path, "program.py", f"import sys\nprint('begun', flush=True)\n{last}\n")
    expected = run(tmp_path, "program.py", command=(sys.executable,))
    done = run(tmp_path, "program.py")
    absolute = f'File "{tmp_path / "program.py"}"'  # which newer interpreters show
    assert done.stderr.replace(absolute, 'File "program.py"') == expected.stderr.replace(absolute, 'File "program.py"')
    assert (done.stdout, done.returncode) == (expected.stdout, code)


def test_an_interrupt_ends_it_by_that_signal(tmp_path: Path) -> None:
    written(tmp_path, "program.py", "import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [*COMMAND, "program.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert error.count("Traceback") == 1
    assert error.endswith("KeyboardInterrupt\n")


def test_what_cannot_be_run_is_said_in_a_sentence(tmp_path: Path) -> None:
    for arguments, code, text in (
        (["none.py"], 2, "greenserve run: cannot open 'none.py': No such file or directory\n"),
        (
            ["site:app"],
            2,
            "greenserve run: cannot open 'site:app': No such file or directory; "
            "an application is served by `greenserve site:app`\n",
        ),
        (["-m", "none"], 1, f"greenserve run: no module named 'none' in {tmp_path} or the installed packages\n"),
        (["-m", "none.part"], 1, "greenserve run: no module named 'none', so 'none.part' cannot be run\n"),
        (["-m", "_socket"], 1, "greenserve run: the module '_socket' is not written in Python, so it cannot be run\n"),
        ([], 2, "greenserve run: what to run? (program.py | -m module) [arguments]\n"),
        (["-m"], 2, "greenserve run: what to run? (program.py | -m module) [arguments]\n"),
    ):
        done = run(tmp_path, *arguments)
        assert (done.stderr, done.stdout, done.returncode) == (text, "", code)
    help_text = run(tmp_path, "--help").stdout
    assert "PROGRAM.py | -m MODULE" in help_text


def test_the_module_does_the_same(tmp_path: Path) -> None:
    written(tmp_path, "program.py", "import sys; print(sys.argv, sys.path[0])\n")
    done = run(tmp_path, "program.py", "-v", command=(sys.executable, "-m", "greenserve.monkey"))
    assert (done.stdout, done.returncode) == (f"['program.py', '-v'] {os.path.realpath(tmp_path)}\n", 0)
    done = run(tmp_path, "none.py", command=(sys.executable, "-m", "greenserve.monkey"))
    assert (done.stderr, done.returncode) == (
        "python -m greenserve.monkey: cannot open 'none.py': No such file or directory\n",
        2,
    )
