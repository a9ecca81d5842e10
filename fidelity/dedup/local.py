"""The tasks of a clean copy on this machine: in processes, or here if there are few."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fidelity.dedup.clean import CleanTask
from fidelity.scheduler import TINY
from fidelity.units import Unit
from fidelity.workers import run

_PRELOAD = ("fidelity.decode", "fidelity.dedup.clean", "fidelity.dedup.runs")


@dataclass(frozen=True, slots=True)
class _Numbered:
    number: int
    function: Callable[[Any], Any]
    task: Any


def mapped(function: Callable[[Any], Any], tasks: Sequence[Any], workers: int) -> list[Any]:
    """function(task) of each, in their order. Raises what a task raised."""
    if workers == 1 or sum(unit.size for task in tasks for unit in _units(task)) < TINY:
        return [function(task) for task in tasks]
    numbered = [_Numbered(number, function, task) for number, task in enumerate(tasks)]
    found = dict(run(_done, numbered, workers, _PRELOAD))
    return [found[number] for number in range(len(tasks))]


def _done(numbered: _Numbered) -> tuple[int, Any]:
    return numbered.number, numbered.function(numbered.task)


def _units(task: Any) -> list[Unit]:
    if isinstance(task, CleanTask):
        return [part.unit for part in task.parts]
    return [task.unit if hasattr(task, "unit") else task.part.unit]
