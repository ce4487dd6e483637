"""run_dag: functions that need each other's results, each run in a green thread as soon as it can be."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from graphlib import TopologicalSorter
from typing import Any, TypeVar

from greenserve.hub.sync.queue import LightQueue
from greenserve.hub.taskgroup import TaskGroup

K = TypeVar("K", bound=Hashable)


def run_dag(nodes: Mapping[K, tuple[Iterable[K], Callable[..., Any]]]) -> dict[K, Any]:
    """Call each node's function with the results of the nodes that it names, in their order. Returns all results.

    Raises ValueError for a name that no node has, graphlib.CycleError for a circle, and the functions' errors as an
    ExceptionGroup, as TaskGroup does: the first one ends the others.

    >>> greenserve.run_dag({"price": ((), int), "count": ((), int), "all": (("price", "count"), max)})["all"]
    0
    """
    needs = {name: tuple(names) for name, (names, _) in nodes.items()}
    unknown = {needed for names in needs.values() for needed in names} - nodes.keys()
    if unknown:
        raise ValueError(f"nodes that are needed but not given: {', '.join(sorted(map(repr, unknown)))}")
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    results: dict[K, Any] = {}
    ended: LightQueue[K] = LightQueue()

    def run(name: K) -> None:
        results[name] = nodes[name][1](*(results[needed] for needed in needs[name]))
        ended.put(name)

    with TaskGroup() as group:
        while sorter.is_active():
            for name in sorter.get_ready():
                group.spawn(run, name)
            sorter.done(ended.get())
    return results
