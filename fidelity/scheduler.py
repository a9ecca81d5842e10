"""Who does the tasks, and how units are grouped into even ones.

Here is the local scheduler: a pool of processes; tiny tasks are done where we are. The other one is
in fidelity/spark.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from fidelity.config import Engine, Stage
from fidelity.tasks import ScanTask, ScanTaskResult, scan_task
from fidelity.units import Unit
from fidelity.workers import Pool

TINY = 64 << 20  # bytes that are read sooner than worker processes are there
SMALLEST_TASK, LARGEST_TASK = 8 << 20, 256 << 20
_TASKS_A_WORKER = 4
_UNIT_COST = 64 << 10  # to open a file costs as much as to read so many bytes


def cores() -> int:
    """How many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def grouped(units: Sequence[Unit], workers: int) -> list[list[Unit]]:
    """Units as even groups, in their order, each for one task; the largest group first.

    One task for small work, at least four a worker for large, so that no core waits for the last.
    """
    costs = [max(unit.size, 0) + _UNIT_COST for unit in units]
    share = sum(costs) // (workers * _TASKS_A_WORKER)
    most = min(max(share, SMALLEST_TASK), LARGEST_TASK)
    groups: list[list[Unit]] = []
    sizes: list[int] = []
    for unit, cost in zip(units, costs, strict=True):
        if not groups or sizes[-1] + cost > most:
            groups.append([])
            sizes.append(0)
        groups[-1].append(unit)
        sizes[-1] += cost
    largest_first = sorted(range(len(groups)), key=sizes.__getitem__, reverse=True)
    return [groups[n] for n in largest_first]


class Scheduler(Protocol):
    """Takes tasks and gives back their results, each once."""

    @property
    def parallelism(self) -> int:
        """How many tasks are done at once."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether a task may be begun more than once, and so leave files that nobody told of."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def submit(self, tasks: Sequence[ScanTask]) -> None:
        """Have the tasks, all of one stage, done."""
        ...

    def withdraw(self, stage: str) -> int:
        """Forget the tasks of a stage as far as that can be; how many have no result to come."""
        ...

    def results(self) -> Iterator[tuple[ScanTask, ScanTaskResult]]:
        """Tasks and their results as they complete; meanwhile more may be submitted.

        Raises FidelityError: one that a task raised, or that tells why the work cannot go on.
        """
        ...


def scheduler(engine: Engine, workers: int, stages: Sequence[Stage]) -> Scheduler:
    """The engine's scheduler.

    Args:
        engine: who does the tasks.
        workers: how many at once; 0: as many as there are cores, here or in the cluster.
        stages: whose tasks may come.
    """
    if engine.kind == "spark":
        from fidelity.spark.work import Work as SparkWork

        return SparkWork(engine, workers)
    return Work(workers or cores(), stages)


class Work:
    """All stages' tasks, done by one pool; by this process if altogether they are tiny.

    The pool starts with the first stage whose plan shows that there is enough to do for it, and
    imports what reading needs while the other stages are being planned.
    """

    repeats = False

    def __init__(self, workers: int, stages: Sequence[Stage]) -> None:
        self.parallelism = workers
        self._pool = Pool(workers, preloaded(stages))
        self._tiny: list[ScanTask] = []
        self._large = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.close()

    def submit(self, tasks: Sequence[ScanTask]) -> None:
        """Have the tasks done."""
        self._tiny += tasks
        cost = sum(task.size + _UNIT_COST * len(task.units) for task in self._tiny)
        self._large = self._large or cost > TINY
        if self._large:
            for task in self._tiny:
                self._pool.submit(scan_task, task)
            self._tiny = []

    def withdraw(self, stage: str) -> int:
        """Forget the tasks of a stage that were not begun; how many these are."""
        before = len(self._tiny)
        self._tiny = [task for task in self._tiny if task.stage.name != stage]
        withdrawn = self._pool.withdraw(lambda task: task.stage.name == stage)
        return before - len(self._tiny) + withdrawn

    def results(self) -> Iterator[tuple[ScanTask, ScanTaskResult]]:
        """Tasks and their results as they complete; meanwhile more may be submitted."""
        while True:
            yield from self._pool.results()
            if not self._tiny:
                return
            task = self._tiny.pop(0)
            yield task, scan_task(task)


def preloaded(stages: Sequence[Stage]) -> tuple[str, ...]:
    """The modules that reading these stages needs."""
    typed = all(stage.record.format == "parquet" for stage in stages)
    # The kernels for texts take 50 MB; columns that have types need none of them.
    found = ["fidelity.decode.judge" if typed else "fidelity.decode"]
    found += ["fidelity.observe.observer", "fidelity.reading", "fidelity.tasks"]
    if any(stage.kind == "kafka" or stage.brokers for stage in stages):
        found.append("fidelity.sources.kafka")
    if any(stage.record.format == "parquet" for stage in stages):
        found.append("fidelity.sources.columnar")
    if any(stage.paths and stage.record.format != "parquet" for stage in stages):
        found.append("fidelity.sources.text")
    return tuple(found)
