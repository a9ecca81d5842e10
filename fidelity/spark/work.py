"""The scheduler on Spark: the tasks of a stage are one job, each a partition of its own.

A table of task numbers, one a partition, is mapped through `mapInArrow`: no shuffle. The tasks
themselves go out as a broadcast variable. Outcomes come in through an accumulator as tasks complete
(Spark adds each partition's once, whatever was tried twice), and once more as the job's rows.
"""

import itertools
import logging
import queue
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from fidelity.config import Engine, mask
from fidelity.config.masking import remembered
from fidelity.errors import EngineError, FidelityError
from fidelity.spark.executor import SCHEMA, Parcel, mapping, packed, unpacked
from fidelity.spark.failures import failure
from fidelity.spark.session import Session, session
from fidelity.tasks import ScanTask, ScanTaskResult

_LOOK = 0.05  # seconds between looks at what has completed
_GOING = 10.0  # seconds that cancelled tasks are given to end
_IDLE = 30.0  # seconds without a task at work before that is told
_UNDONE = "Nothing of the stage was counted; the next scan reads it again."

_log = logging.getLogger(__name__)
_numbers = itertools.count(1)


class Work:
    """All stages' tasks, done by Spark. There is no session until there is something to do."""

    repeats = True

    def __init__(self, engine: Engine, workers: int) -> None:
        self._engine, self._workers = engine, workers
        self._session: Session | None = None
        self._jobs: list[_Job] = []
        self._ended: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._at_work = float("inf")  # when a task was last seen at work, or that was told

    @property
    def parallelism(self) -> int:
        """As many tasks at once as there are cores, as far as that is known yet."""
        return self._workers or self._opened().cores()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for job in self._jobs:
            job.cancel()
        if self._session is not None:
            self._session.close()
        for job in self._jobs:
            job.join(_GOING)

    def submit(self, tasks: Sequence[ScanTask]) -> None:
        """Have the tasks, all of one stage, done: one job."""
        if tasks:
            job = _Job(self._opened(), tasks, self._ended)
            self._jobs.append(job)
            job.start()

    def withdraw(self, stage: str) -> int:
        """Cancel the jobs of a stage; how many tasks have no result to come."""
        withdrawn = 0
        for job in self._jobs:
            if job.stage == stage and not job.cancelled:
                job.cancel()
                withdrawn += job.waiting
        return withdrawn

    def results(self) -> Iterator[tuple[ScanTask, ScanTaskResult]]:
        """Tasks and results as they complete. Raises what a task raised, or EngineError."""
        self._at_work = time.monotonic()
        while self._jobs:
            ended = self._wait()
            if ended is None:
                self._tell_if_idle()
            for job in list(self._jobs):
                for arrived in job.arrived():
                    self._at_work = time.monotonic()
                    yield arrived
            if ended is not None:
                yield from ended.rest()
                self._jobs.remove(ended)

    def _wait(self) -> "_Job | None":
        """A job that has ended, or None after a while."""
        with suppress(queue.Empty):
            return self._ended.get(timeout=_LOOK)
        return None

    def _tell_if_idle(self) -> None:
        """Spark waits for executors for ever, and without a word."""
        now = time.monotonic()
        if now - self._at_work > _IDLE:
            self._at_work = now
            if not self._opened().busy():
                _log.warning(
                    "Spark on %s has had no task at work for %.0f s: it may have no executor free, "
                    "or none with the memory and cores that are asked for.",
                    mask(self._opened().master),
                    _IDLE,
                )

    def _opened(self) -> Session:
        if self._session is None:
            self._session = session(self._engine)
        return self._session


class _Job:
    """The tasks of one stage, as one Spark job, which a thread waits for."""

    def __init__(
        self, spark: Session, tasks: Sequence[ScanTask], ended: "queue.SimpleQueue[_Job]"
    ) -> None:
        from pyspark import InheritableThread
        from pyspark.accumulators import AddingAccumulatorParam

        self.stage, self.cancelled = tasks[0].stage.name, False
        self._session, self._tasks, self._ended = spark, tasks, ended
        self._context = spark.spark.sparkContext
        self._where = f"stage {self.stage}, Spark on {spark.master}"
        self._group = f"fidelity-{tasks[0].scan}-{next(_numbers)}"
        self._news: Any = self._context.accumulator([], AddingAccumulatorParam[Any]([]))
        self._seen = 0  # of the news
        self._told: set[int] = set()  # tasks whose results were given
        self._rows: list[Any] = []
        self._error: Exception | None = None
        self._thread = InheritableThread(target=self._run, daemon=True)

    @property
    def waiting(self) -> int:
        """Tasks whose results were not given yet."""
        return len(self._tasks) - len(self._told)

    def start(self) -> None:
        """Send it to Spark and return at once."""
        self._thread.start()

    def cancel(self) -> None:
        """Have Spark forget it. Nothing more comes of it."""
        self.cancelled = True
        with suppress(Exception):  # the session may be gone
            self._context.cancelJobGroup(self._group)

    def join(self, seconds: float) -> None:
        """Wait until it has ended, cancelling again: it may not have been under way at first."""
        until = time.monotonic() + seconds
        while self._thread.is_alive() and time.monotonic() < until:
            self._thread.join(0.2)
            self.cancel()

    def arrived(self) -> Iterator[tuple[ScanTask, ScanTaskResult]]:
        """What has completed since the last look."""
        news = self._news.value
        while self._seen < len(news) and not self.cancelled:
            self._seen += 1
            yield from self._given(*news[self._seen - 1])

    def rest(self) -> Iterator[tuple[ScanTask, ScanTaskResult]]:
        """Once it has ended: what the accumulator did not tell. Raises EngineError if it failed."""
        if self.cancelled:
            return
        if self._error is not None:
            raise failure(self._error, self._where, _UNDONE) from None
        for row in self._rows:
            yield from self._given(row["task"], row["outcome"])
        if self.waiting and not self.cancelled:
            raise EngineError(
                f"Spark ended a job without the outcome of {self.waiting} of its tasks.",
                where=self._where,
                action=_UNDONE,
            )

    def _given(self, number: int, outcome: bytes) -> Iterator[tuple[ScanTask, ScanTaskResult]]:
        if number in self._told or self.cancelled:
            return
        self._told.add(number)
        result = unpacked(outcome)
        if isinstance(result, FidelityError):
            raise result
        yield self._tasks[number], result

    def _run(self) -> None:
        """In the thread: have the tasks done, and tell that this is so."""
        try:
            self._rows = self._collected()
        except Exception as error:  # noqa: BLE001 - raised where the results are waited for
            self._error = error
        self._ended.put(self)

    def _collected(self) -> list[Any]:
        count, secrets = len(self._tasks), remembered()
        title = f"fidelity: stage {self.stage}, {count:,} tasks"
        self._context.setJobGroup(self._group, title, interruptOnCancel=True)
        parcels = self._context.broadcast([packed(Parcel(task, secrets)) for task in self._tasks])
        try:
            numbers = self._session.spark.range(0, count, 1, count)
            return numbers.mapInArrow(mapping(parcels, self._news), SCHEMA).collect()
        finally:
            with suppress(Exception):  # the session may be gone
                parcels.destroy()
