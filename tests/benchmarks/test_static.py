"""The comparison of servers of static files: its files and its page, without load."""

from __future__ import annotations

import pytest

from benchmarks import static
from benchmarks.static import Cell


def test_its_files_have_the_sizes_that_the_page_names():
    with static.files() as directory:
        assert [(directory / file).stat().st_size for file, _ in static.SIZES.values()] == [1 << 10, 1 << 20]
    assert not directory.exists()


def test_the_page_has_medians_and_the_reasons_of_those_that_are_missing():
    options = static.parsed(["--peers", "greenserve,nginx"])
    options.machine = {"cpu": "a processor", "cores": 2, "kernel": "6.1", "python": "3.11"}
    cells = {
        (size, peer.name): Cell([30.0, 10.0, 20.0], [1.0, 3.0, 2.0])
        if peer.name == "greenserve"
        else Cell(missing="no")
        for size in static.SIZES
        for index, peer in enumerate(options.peers)
    }
    page = static.report(options, cells, {"greenserve": "1"})
    assert page.count("| **greenserve** | **20.0** | **2.0** | **--static** |") == 2
    assert page.count("| nginx | n/a | n/a | no |") == 2


def test_unknown_names_are_refused():
    with pytest.raises(SystemExit):
        static.parsed(["--peers", "unknown"])
