"""A small fuzzer: a mutator over a corpus, which lines of the code an input reaches, and the shortest input that fails.

Everything follows from a seed, so what was found is found again. `tools/fuzz.py` runs it for long, or atheris in its
place; the suite runs so many mutations of the kept corpus.
"""

from __future__ import annotations

import ast
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
TOKENS = Path(__file__).parent / "tokens"
MAX_SIZE = 4096  # bytes of a mutated input
NUMBERS = (b"0", b"1", b"9", b"00", b"05", b"-1", b"+1", b"0x1", b"4294967296", b"18446744073709551616", b"ffffffff")

Check = Callable[[bytes], object]  # raises what is wrong with how an input is dealt with
Step = tuple[CodeType, int, int]  # from one line to another


def read_corpus(name: str, directory: Path = CORPUS) -> list[bytes]:
    """The inputs that are kept under a name: one to a line, as Python writes bytes; "#" begins a comment."""
    lines = (directory / f"{name}.txt").read_text("ascii").splitlines()
    return [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]


def write_corpus(name: str, inputs: Sequence[bytes], directory: Path = CORPUS) -> None:
    """Add `inputs` to those that are kept."""
    with (directory / f"{name}.txt").open("a", encoding="ascii") as file:
        file.writelines(f"{data!r}\n" for data in inputs)


class Mutator:
    """Gives inputs that are like those of the corpus, and a little wrong. tokens: what means something in them."""

    def __init__(self, corpus: Sequence[bytes], tokens: Sequence[bytes], seed: int) -> None:
        self.corpus = list(corpus) or [b""]
        self._tokens = [*tokens, *NUMBERS]
        self._random = random.Random(seed)
        self._steps = (self._flip, self._insert, self._delete, self._repeat, self._splice, self._swap_case)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = bytearray(self._random.choice(self.corpus))
        for _ in range(self._random.choice((1, 1, 2, 3, 5))):
            self._random.choice(self._steps)(data)
        return bytes(data[:MAX_SIZE])

    def _span(self, data: bytearray) -> slice:
        start = self._random.randint(0, len(data))
        return slice(start, start + self._random.choice((0, 1, 1, 2, 4, 16, 64)))

    def _flip(self, data: bytearray) -> None:
        if data:
            at = self._random.randrange(len(data))
            data[at] = self._random.choice((data[at] ^ 1 << self._random.randrange(8), self._random.randrange(256)))

    def _insert(self, data: bytearray) -> None:
        data[self._span(data)] = self._random.choice(self._tokens)

    def _delete(self, data: bytearray) -> None:
        del data[self._span(data)]

    def _repeat(self, data: bytearray) -> None:
        piece = data[self._span(data)]
        at = self._random.randint(0, len(data))
        data[at:at] = piece * self._random.choice((1, 1, 2, 10))

    def _splice(self, data: bytearray) -> None:
        other = self._random.choice(self.corpus)
        data[self._random.randint(0, len(data)) :] = other[self._random.randint(0, len(other)) :]

    def _swap_case(self, data: bytearray) -> None:
        span = self._span(data)
        data[span] = data[span].swapcase()


def shortest(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """A short part of `data` with which it still `fails`."""
    size = len(data) // 2
    while size:
        for start in range(0, len(data), size):
            shorter = data[:start] + data[start + size :]
            if fails(shorter):
                data = shorter
                break
        else:
            size //= 2
    return data


class Reached:
    """The lines of the package's code that inputs have reached so far, each for how it was come to."""

    def __init__(self, package: str) -> None:
        self._package = package
        self.seen: set[Step] = set()

    def adds(self, check: Check, data: bytes) -> bool:
        """Run `check(data)`. Returns whether it has reached anything new; raises what the check raises."""
        new: set[Step] = set()

        def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
            if not frame.f_code.co_filename.startswith(self._package):
                return None
            last = 0  # the line before

            def trace_lines(frame: FrameType, event: str, _argument: Any) -> Any:
                nonlocal last
                if event == "line":
                    new.add((frame.f_code, last, frame.f_lineno))
                    last = frame.f_lineno
                return trace_lines

            return trace_lines

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            check(data)
        finally:
            sys.settrace(before)
        added = not new <= self.seen
        self.seen |= new
        return added


class Failed(Exception):
    """An input with which a check fails, and how."""

    def __init__(self, data: bytes, error: BaseException) -> None:
        super().__init__(f"{data!r}\n{type(error).__name__}: {error}")
        self.data = data


def run(check: Check, inputs: Iterator[bytes]) -> int:
    """Check all inputs; returns how many. Raises Failed for the first that fails, shortened."""
    count = 0
    for data in inputs:
        try:
            check(data)
        except Exception as error:
            kind = type(error)

            def fails(shorter: bytes, kind: type[Exception] = kind) -> bool:
                try:
                    check(shorter)
                except kind:
                    return True
                except Exception:
                    return False
                return False

            raise Failed(shortest(data, fails), error) from error
        count += 1
    return count


def guided(check: Check, mutator: Mutator, reached: Reached, goes_on: Callable[[], bool]) -> list[bytes]:
    """Mutate, and mutate further what reaches something new, while it `goes_on`. Returns these inputs."""
    found: list[bytes] = []
    for data in list(mutator.corpus):
        reached.adds(check, data)
    while goes_on():
        data = next(mutator)
        try:
            new = reached.adds(check, data)
        except Exception:
            run(check, iter([data]))
            raise
        if new:
            mutator.corpus.append(data)
            found.append(data)
    return found
