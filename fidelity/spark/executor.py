"""What a Spark task does: one ScanTask by its number, from the table of tasks to the store.

Invariant: nothing but a small outcome goes back to the driver. Only a FidelityError is an outcome;
anything else is raised, so that Spark tries again, elsewhere if it can.
"""

import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fidelity import __version__
from fidelity.errors import EngineError, FidelityError
from fidelity.tasks import scan_task

SCHEMA = "task long, outcome binary"
"""Of the rows that go back, one a task, as Spark's SQL has it."""

Outcome = Any
"""What came of a task, or a FidelityError."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A task, the secrets that no message about it may show, and what is to be done with it."""

    task: Any
    secrets: tuple[str, ...]
    function: Callable[[Any], Any] = scan_task


def packed(value: Any) -> bytes:
    """Pickled, and a tenth of that: units of one stage are much alike."""
    return zlib.compress(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), 1)


def unpacked(data: bytes) -> Any:
    """What `packed` was given."""
    return pickle.loads(zlib.decompress(data))


def mapping(
    parcels: Any, news: Any, version: str = __version__
) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
    """The function that `mapInArrow` is given; it finds the rest of itself on the executor.

    Args:
        parcels: a broadcast variable with all packed parcels, by number.
        news: an accumulator of (number, packed outcome): tells of each task as it completes, while
            the rows come only when the whole job is done.
        version: of the driver's Fidelity.
    """

    def run(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        from fidelity.spark.executor import outcomes

        return outcomes(batches, parcels, news, version)

    return run


def outcomes(
    batches: Iterable[pa.RecordBatch], parcels: Any, news: Any, version: str
) -> Iterator[pa.RecordBatch]:
    """Do the tasks whose numbers come in; (task, outcome) each."""
    for batch in batches:
        for number in batch.column(0).to_pylist():
            outcome = packed(_outcome(parcels.value, number, version))
            news.add([(number, outcome)])
            yield pa.RecordBatch.from_pydict({"task": [number], "outcome": [outcome]})


def _outcome(parcels: Sequence[bytes], number: int, version: str) -> Outcome:
    from fidelity.config.masking import remember

    if version != __version__:
        return EngineError(
            f"the executors have Fidelity {__version__}, and the driver has {version}.",
            action="Install the same version on both: docs/spark.md tells how.",
        )
    parcel: Parcel = unpacked(parcels[number])
    for secret in parcel.secrets:
        remember(secret)
    try:
        return parcel.function(parcel.task)
    except FidelityError as error:
        return error
