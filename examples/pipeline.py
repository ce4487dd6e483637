"""A pipeline over files: one green thread finds them, several read them, one counts their words.

python pipeline.py DIRECTORY [READERS]

The queues between the stages are bounded, so a fast stage waits for a slow one, and a million files take no
more memory than ten. A queue that is shut down ends the loops over it, once it is empty. Files block whatever the
system says of sockets, so they are read on OS threads. When one stage fails, the task group ends the others, and the
error comes out of the `with` block.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import greenserve

WORD = re.compile(r"\w+")


def find(directory, paths):
    for path in sorted(Path(directory).rglob("*.txt")):
        paths.put(path)  # waits while ten are in the queue
    paths.shutdown()


def read_all(readers, paths, texts):
    with greenserve.TaskGroup() as group:  # ends when all of them have
        for _ in range(readers):
            group.spawn(read, paths, texts)
    texts.shutdown()


def read(paths, texts):
    for path in paths:
        try:
            texts.put(greenserve.tpool.execute(path.read_text, "utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8") from error


def count(texts, words):
    files = 0
    for text in texts:
        words.update(WORD.findall(text.lower()))
        files += 1
    return files


def main(directory, readers="4"):
    paths = greenserve.Queue(10)
    texts = greenserve.Queue(10)
    words = Counter()
    try:
        with greenserve.TaskGroup() as group:
            group.spawn(find, directory, paths)
            group.spawn(read_all, int(readers), paths, texts)
            counting = group.spawn(count, texts, words)
    except* (OSError, ValueError) as errors:
        sys.exit(f"pipeline.py: {first(errors)}")
    print(json.dumps({"files": counting.wait(), "words": words.total(), "most common": words.most_common(5)}))


def first(error):
    """Groups may be in groups, as the tasks were."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python pipeline.py DIRECTORY [READERS]")
    main(*sys.argv[1:])
