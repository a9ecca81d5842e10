"""A pipeline as plain multisets, and the same pipeline as observations: what reconcile is held to.

A copy of a record is (window, stream, origin, id); a stage is a Counter of them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from fidelity.config import Pipeline, Stage
from fidelity.decode.names import Names
from fidelity.edges import samples_of
from fidelity.identity import ids_of, producer_seed
from fidelity.observe import Observer
from fidelity.observe.observations import OBSERVATIONS
from fidelity.reconcile import reconcile
from fidelity.records import Records
from fidelity.report import Report
from fidelity.units import LOOKED, LedgerRow, Unit

MINUTE = 60_000_000
WINDOW = 10 * MINUTE
SETTLE = 30 * MINUTE
START = 1_772_359_200_000_000 // WINDOW * WINDOW  # 2026-03-01T10:00:00Z
LATER = START + 10_000 * WINDOW  # everything has settled

Copy = tuple[int, str, str, int]  # window number, stream, origin, id


def fid(stream: str, origin: str, sequence: int) -> int:
    return int(ids_of([sequence], producer_seed(stream, origin))[0])


def run_of(window: int, stream: str, origin: str, numbers: Iterable[int]) -> Counter[Copy]:
    """Records of one producer, by sequence number."""
    given = list(numbers)
    ids = ids_of(np.array(given, np.int64), producer_seed(stream, origin)).tolist()
    return Counter((window, stream, origin, each) for each in ids)


def chain(*names: str, **changes: object) -> Pipeline:
    """Stages one after another. `changes` are those of the last stage."""
    stages = []
    for at, name in enumerate(names):
        more = changes if at == len(names) - 1 else {}
        after = names[at - 1] if at else None
        stages.append(Stage(name=name, kind="files", after=after, **more))  # type: ignore[arg-type]
    return Pipeline(name="test", store="none", stages=tuple(stages), window=WINDOW, settle=SETTLE)


@dataclass
class World:
    """What every stage holds, and what becomes of it in the store."""

    pipeline: Pipeline
    stages: Mapping[str, Counter[Copy]]
    units: int = 1
    looked_at: int = LATER
    rows: list[LedgerRow] = field(default_factory=list)  # further ledger rows
    samples: bool = True

    def ledger(self) -> list[LedgerRow]:
        found = []
        for name in self.stages:
            found.append(looked(name, self.looked_at))
            found += [read(name, f"{name}-{at}") for at in range(self.units)]
        return found + self.rows

    def observations(self) -> pa.Table:
        batches = []
        for name, copies in self.stages.items():
            samples = samples_of(self.pipeline, name) if self.samples else (1,)
            stamped = not self.pipeline.stage(name).record.opaque
            rows = sorted(copies.elements(), key=lambda copy: hash(copy) % 1009)
            for at in range(self.units):
                batches += observed(name, f"{name}-{at}", rows[at :: self.units], samples, stamped)
        return pa.Table.from_batches(batches, schema=OBSERVATIONS)

    def reconcile(
        self, as_of: int = LATER, tracer: object = "exact", observations: Any = None
    ) -> Report:
        return reconcile(
            self.pipeline,
            self.ledger(),
            self.observations() if observations is None else observations,
            as_of=as_of,
            run="r",
            tracer=self.trace if tracer == "exact" else None,
        )

    def trace(
        self,
        reference: str,
        stage: str,
        scopes: Sequence[tuple[int, str]],
        ids: pa.Table | None,
    ) -> "Traced":
        """The tracer's contract, on the model."""
        wanted = set(scopes)
        asked = None
        if ids is not None:
            windows = ids["window"].cast(pa.int64()).to_pylist()
            asked = set(zip(windows, ids["stream"].to_pylist(), ids["id"].to_pylist(), strict=True))
        r, d = self.stages[reference], self.stages[stage]
        rows = []
        for copy in set(r) | set(d):
            number, stream, origin, each = copy
            start = START + number * WINDOW
            if (start, stream) not in wanted:
                continue
            if asked is not None and (start, stream, each) not in asked:
                continue
            if asked is not None or r[copy] != d[copy]:
                rows.append((start, stream, origin, each, r[copy], d[copy]))
        return Traced(rows)


class Traced:
    """What the model's trace answers."""

    def __init__(self, rows: list[tuple[int, str, str, int, int, int]]) -> None:
        names = ("window", "stream", "origin", "id", "r", "d")
        kinds = (pa.int64(), pa.string(), pa.string(), pa.uint32(), pa.int64(), pa.int64())
        columns = list(zip(*rows, strict=True)) or [()] * 6
        self.rows = pa.table(
            {n: pa.array(c, k) for n, c, k in zip(names, columns, kinds, strict=True)}
        )
        self.rows = self.rows.set_column(
            0, "window", self.rows["window"].cast(pa.timestamp("us", "UTC"))
        )
        self.untraceable: dict[tuple[int, str], str] = {}


def looked(stage: str, at: int) -> LedgerRow:
    unit = Unit(stage, LOOKED, "stage", "", 0, 0)
    return LedgerRow(unit, "read", "scan-1", at, "")


def read(stage: str, key: str) -> LedgerRow:
    return LedgerRow(Unit(stage, key, "text", f"{key}.log", 0, 1), "read", "scan-1", LATER, "")


def observed(
    stage: str, key: str, rows: Sequence[Copy], samples: Sequence[int], stamped: bool
) -> list[pa.RecordBatch]:
    """Observation rows of one unit, by the real Observer."""
    names = Names()
    observer = Observer(WINDOW, names, samples, stamped)
    if rows:
        windows, streams, origins, ids = zip(*rows, strict=True)
        codes = {text: names.code(text) for text in {*streams, *origins}}
        count = len(rows)
        observer.add(
            Records(
                id=np.array(ids, np.uint32),
                time=START + np.array(windows, np.int64) * WINDOW + np.arange(count) % WINDOW,
                stream=np.array([codes[each] for each in streams], np.int32),
                origin=np.array([codes[each] for each in origins], np.int32),
                size=np.full(count, 170, np.int64),
                arrival=np.full(count, LATER, np.int64),
                position=np.arange(count),
                flaw=np.zeros(count, np.uint8),
            )
        )
    return list(observer.rows(key, "scan-1", stage))
