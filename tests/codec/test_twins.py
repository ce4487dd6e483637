"""The compiled functions give what their twins in Python give, for more inputs still by tools/fuzz_codec.py."""

from __future__ import annotations

import gc
import subprocess
import sys
from itertools import islice
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from greenserve.websocket.protocol.mask import apply_mask_in_python
from tests.conftest import REPOSITORY, require_codec

from .twins import TWINS, Differs, functions, play

SEED = 20261128


@pytest.fixture
def compiled() -> ModuleType:
    return require_codec()


def test_every_compiled_function_is_held_to_its_twin(compiled: ModuleType) -> None:
    assert set(functions(compiled)) <= set(TWINS)
    for name in functions(compiled):
        inputs = round(50_000 * TWINS[name].share)
        assert play(name, compiled, inputs, SEED) > inputs / 10, f"hardly any input of {name} is plain"


def test_every_second_call_leaves_nothing_behind(compiled: ModuleType) -> None:
    def held() -> tuple[int, int]:
        gc.collect()
        return sys.getallocatedblocks(), sys.getrefcount(None)

    for name in functions(compiled):
        function, as_given = getattr(compiled, name), TWINS[name].as_given
        inputs = [as_given(arguments) for arguments in islice(TWINS[name].inputs(SEED), 2000)]
        for arguments in inputs:
            function(*arguments)
        before = held()
        for arguments in inputs:
            function(*arguments)
        after = held()
        # A reference that each call keeps would be thousands; the interpreter's own caches come and go.
        assert max(now - then for now, then in zip(after, before, strict=True)) < 200, name


def test_the_same_seed_gives_the_same_inputs() -> None:
    for twins in TWINS.values():
        first, second = ([repr(each) for each in islice(twins.inputs(SEED), 300)] for _ in range(2))
        assert first == second
        assert len(set(first)) > 100


@pytest.mark.parametrize(
    "wrong",
    [
        lambda data, key: bytearray(apply_mask_in_python(bytes(data), key)),  # equal, but of another type
        lambda data, key: None if len(data) == 97 else apply_mask_in_python(bytes(data), key),
        lambda data, key: apply_mask_in_python(bytes(data), key)[:1024],
    ],
)
def test_a_difference_is_shown_as_a_call_that_shows_it(wrong: Any) -> None:
    with pytest.raises(Differs) as differs:
        play("apply_mask", cast("ModuleType", SimpleNamespace(apply_mask=wrong)), 20_000, SEED)
    call, in_python, in_c = str(differs.value).splitlines()
    assert in_python == f"  in Python: {eval(call, {'apply_mask': apply_mask_in_python})!r}"
    assert in_c == f"  compiled:  {eval(call, {'apply_mask': wrong})!r}"


def test_the_long_run_says_what_it_has_done() -> None:
    require_codec()
    command = [sys.executable, "tools/fuzz_codec.py", "apply_mask", "--inputs", "2000", "--seed", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("apply_mask: nothing differs in 2,000 inputs with seed 1, of which 2,000 are plain")
    wrong = subprocess.run([*command[:2], "unknown"], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert "unknown function unknown: choose from" in wrong.stderr
