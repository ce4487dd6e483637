"""A process of atheris's: `python -m tests.fuzz.with_atheris TARGET DIRECTORY SECONDS SEED`, for tools/fuzz.py.

DIRECTORY/corpus has the inputs to begin with, and gets those that reach new code; DIRECTORY gets what fails.
"""

import sys
from pathlib import Path

import atheris

from tests.fuzz.engine import MAX_SIZE, TOKENS, read_corpus

with atheris.instrument_imports(include=["greenserve"]):
    from tests.fuzz.targets import TARGETS

name, directory, seconds, seed = sys.argv[1:]
target = TARGETS[name]
dictionary = Path(directory, "tokens")
tokens = ("".join(f"\\x{octet:02x}" for octet in token) for token in read_corpus(target.tokens, TOKENS))
dictionary.write_text("".join(f'"{token}"\n' for token in tokens))
options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MAX_SIZE}", f"-dict={dictionary}"]
with target.checking() as check:
    atheris.Setup([name, *options, f"-artifact_prefix={directory}/", f"{directory}/corpus"], check)
    atheris.Fuzz()
