"""How the end of a process is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenserve.supervisor.ends import MemoryEvents, how_it_ended


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """As a control group has it."""
    file = tmp_path / "memory.events"
    file.write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n")
    return file


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "has ended"),
        (3, "ended with exit status 3"),
        (-11, "was killed by SIGSEGV"),
        (-9, "was killed by SIGKILL"),
        (-63, "was killed by signal 63"),
    ],
)
def test_an_end_in_words(events: Path, code: int, words: str) -> None:
    assert how_it_ended(code, MemoryEvents(str(events))) == words


def test_want_of_memory_has_its_name_once_for_each_process_that_was_killed_for_it(events: Path) -> None:
    memory = MemoryEvents(str(events))
    events.write_text(events.read_text().replace("oom_kill 1", "oom_kill 2"))
    assert how_it_ended(-15, memory) == "was killed by SIGTERM"
    assert "for want of memory" in how_it_ended(-9, memory)
    assert how_it_ended(-9, memory) == "was killed by SIGKILL"


def test_a_machine_without_control_groups_knows_no_want_of_memory(tmp_path: Path) -> None:
    assert how_it_ended(-9, MemoryEvents(str(tmp_path / "none"))) == "was killed by SIGKILL"
