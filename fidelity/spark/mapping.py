"""A function over tasks of any kind, each a partition of its own: for jobs that are not a scan."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from fidelity.config import Engine
from fidelity.config.masking import remembered
from fidelity.errors import EngineError, FidelityError
from fidelity.spark.executor import SCHEMA, Parcel, mapping, packed, unpacked
from fidelity.spark.failures import failure
from fidelity.spark.session import session


class Mapping:
    """Maps functions over a Spark session until the block ends.

    Raises:
        EngineError: there is no session to be had, or Spark gave a job up.
    """

    def __init__(self, engine: Engine) -> None:
        self._session = session(engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()

    def __call__(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """function(task) of each, in their order. Raises what a task raised."""
        if not tasks:
            return []
        from pyspark.accumulators import AddingAccumulatorParam

        context, secrets = self._session.spark.sparkContext, remembered()
        news: Any = context.accumulator([], AddingAccumulatorParam[Any]([]))
        context.setJobDescription(f"fidelity: {function.__name__}, {len(tasks):,} tasks")
        parcels = context.broadcast([packed(Parcel(task, secrets, function)) for task in tasks])
        numbers = self._session.spark.range(0, len(tasks), 1, len(tasks))
        try:
            rows = numbers.mapInArrow(mapping(parcels, news), SCHEMA).collect()
        except Exception as error:  # noqa: BLE001 - whatever Spark raises, told in one paragraph
            where = f"Spark on {self._session.master}"
            raise failure(error, where, "Nothing was published.") from None
        finally:
            with suppress(Exception):  # the session may be gone
                parcels.destroy()
        return self._results(rows, len(tasks))

    def _results(self, rows: Sequence[Any], count: int) -> list[Any]:
        found = {row["task"]: unpacked(row["outcome"]) for row in rows}
        for result in found.values():
            if isinstance(result, FidelityError):
                raise result
        if len(found) != count:
            raise EngineError(
                f"Spark ended a job without the outcome of {count - len(found)} of its tasks.",
                where=f"Spark on {self._session.master}",
                action="Run it again: nothing was published.",
            )
        return [found[number] for number in range(count)]
