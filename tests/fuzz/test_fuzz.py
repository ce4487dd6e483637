"""The kept inputs, and so many mutations of them; `tools/fuzz.py` runs for as long as one likes."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from .engine import CORPUS, TOKENS, Failed, Mutator, Reached, guided, read_corpus, run, shortest, write_corpus
from .targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
SEED = 20250101

every_target = pytest.mark.parametrize("name", TARGETS)


@every_target
def test_the_kept_inputs_and_mutations_of_them_show_nothing_wrong(name: str) -> None:
    target = TARGETS[name]
    kept = read_corpus(name)
    mutator = Mutator(kept, read_corpus(target.tokens, TOKENS), SEED)
    with target.checking() as check:
        assert run(check, iter(kept)) == len(kept) > 5
        assert run(check, itertools.islice(mutator, target.mutations)) == target.mutations


def test_every_file_of_the_corpus_belongs_to_a_target_and_keeps_no_input_twice() -> None:
    assert {file.stem for file in CORPUS.iterdir()} == set(TARGETS)
    assert {file.stem for file in TOKENS.iterdir()} == {target.tokens for target in TARGETS.values()}
    for name in TARGETS:
        assert len(set(read_corpus(name))) == len(read_corpus(name))


# -- that it finds something


def gate(data: bytes) -> None:
    """Breaks behind three questions, of which no mutation answers all at once."""
    if data[:1] != b"<":
        return
    if b"key" not in data:
        return
    if data.endswith(b">>"):
        raise ZeroDivisionError


def test_what_a_guided_search_finds_is_shown_shortened() -> None:
    mutator = Mutator([b"a request"], [b"key", b"<", b">"], SEED)
    with pytest.raises(Failed) as failed:
        guided(gate, mutator, Reached(__file__), lambda: True)
    assert failed.value.data == b"<key>>"
    assert str(failed.value) == "b'<key>>'\nZeroDivisionError: "


def test_what_reaches_something_new_is_kept() -> None:
    turns = iter(range(2000))
    mutator = Mutator([b"a request"], [b"key", b"<"], SEED)
    found = guided(gate, mutator, Reached(__file__), lambda: next(turns, None) is not None)
    assert any(data.startswith(b"<") and b"key" in data for data in found)
    reached = Reached(__file__)
    assert reached.adds(gate, b"")
    assert not reached.adds(gate, b"other")
    assert reached.adds(gate, b"<")


def test_an_input_that_fails_ends_a_run() -> None:
    with pytest.raises(Failed, match=r"b'<key>>'\nZeroDivisionError"):
        run(gate, iter([b"right", b"<a long key and more>>", b"never reached"]))
    assert run(gate, iter([b"a", b"b"])) == 2


def test_the_same_seed_gives_the_same_mutations() -> None:
    first, second = (list(itertools.islice(Mutator([b"abc", b"defg"], [b"!"], SEED), 50)) for _ in range(2))
    assert first == second
    assert len(set(first)) > 30


def test_shortening_keeps_what_fails() -> None:
    assert shortest(b"xxaxxxbxx", lambda data: b"a" in data and b"b" in data) == b"ab"


def test_a_corpus_is_text_with_comments(tmp_path: Path) -> None:
    (tmp_path / "name.txt").write_text("# how it came here\n\nb'\\xff\\r\\n'\n")
    write_corpus("name", [b"\0#'\""], tmp_path)
    assert read_corpus("name", tmp_path) == [b"\xff\r\n", b"\0#'\""]


def test_the_long_run_says_what_it_has_done() -> None:
    command = [sys.executable, "-W", "ignore", "tools/fuzz.py", "forwarded", "--own", "--seconds", "1", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("forwarded: 1 seconds with seed 1\nforwarded: nothing wrong; ")
    wrong = subprocess.run([*command[:4], "fields"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert wrong.returncode == 2
    assert "unknown target fields: choose from head, chunked, connection" in wrong.stderr
