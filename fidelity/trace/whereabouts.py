"""Whereabouts: at which stages was the record with one id seen, and where does it lie there?

The sketches, and the runs of sequence numbers, say in which windows and streams of which units it
may be; only those units are read again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from fidelity.config import Pipeline, mask
from fidelity.identity import producer_seed, sequences_of
from fidelity.questions import ask, connect
from fidelity.report import TIME, iso
from fidelity.sketch import BITS, CELLS
from fidelity.store import MERGED_UNIT, Snapshot
from fidelity.trace import copies
from fidelity.units import LedgerRow

Scope = tuple[int, str]
"""(window in microseconds, stream)."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One copy of the id at one stage. Times are microseconds."""

    stage: str
    time: int
    window: int
    stream: str
    origin: str
    sequence: int | None  # None for opaque ids
    path: str  # file or topic
    partition: int | None  # None in a file
    offset: int  # in bytes of a text file (decompressed), in rows of a Parquet file, in records


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where an id was seen. `untold` holds, by stage, what could not be read again."""

    id: int
    stages: tuple[str, ...]  # that were asked, in order
    sightings: tuple[Sighting, ...]
    untold: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "id": f"{self.id:08x}",
            "stages": list(self.stages),
            "sightings": [
                {
                    "stage": each.stage,
                    "time": iso(each.time),
                    "window": iso(each.window),
                    "stream": each.stream,
                    "origin": each.origin,
                    "sequence": each.sequence,
                    "position": {
                        "path": each.path,
                        "partition": each.partition,
                        "offset": each.offset,
                    },
                }
                for each in self.sightings
            ],
            "untold": dict(self.untold),
        }


def whereabouts(
    pipeline: Pipeline,
    snapshot: Snapshot,
    ledger: Sequence[LedgerRow],
    id: int,
    stages: Sequence[str] = (),
    window: tuple[int, int] | None = None,
) -> Whereabouts:
    """Read again what may hold the id.

    Args:
        ledger: rows in force of all stages.
        stages: only these; none means all.
        window: only windows that start in [from, to), microseconds.
    """
    asked = [stage.name for stage in pipeline.stages if not stages or stage.name in stages]
    may_hold = _may_hold(snapshot, id, window)
    sightings: list[Sighting] = []
    untold: dict[str, str] = {}
    for name in asked:
        found = may_hold.get(name)
        if found is None:
            continue
        rows = [row for row in ledger if row.unit.stage == name and found.holds(row)]
        scopes = sorted(found.scopes)
        traced = copies(pipeline, [name], rows, scopes, _asked(scopes, id))
        for reason in list(traced.untraceable.values())[:1]:
            untold[name] = reason
        sightings += _sightings(pipeline, name, traced.rows)
    return Whereabouts(id, tuple(asked), tuple(sightings), untold)


@dataclass(slots=True)
class _MayHold:
    """Scopes and units of one stage that an id may be in."""

    scopes: set[Scope] = field(default_factory=set)
    units: set[tuple[str, str]] = field(default_factory=set)  # (scan, unit)

    def holds(self, row: LedgerRow) -> bool:
        return (row.scan, row.unit.key) in self.units or (row.scan, MERGED_UNIT) in self.units


def _may_hold(snapshot: Snapshot, id: int, window: tuple[int, int] | None) -> dict[str, _MayHold]:
    """By stage, what has something in each of the id's three cells and holds its sequence."""
    first, last = window or (-(2**63), 2**63 - 1)
    cells = {f"cell_{band}": id >> BITS * band & (CELLS - 1) for band in range(3)}
    with connect() as connection:
        connection.register("in_force", snapshot.in_force())
        connection.register("observations", snapshot.observations())
        connection.register("producers", _sequences(connection, id))
        rows = ask(connection, "whereabouts", first=first, last=last, **cells).fetchall()
    found: dict[str, _MayHold] = {}
    for stage, scan, unit, start, stream in rows:
        here = found.setdefault(stage, _MayHold())
        here.scopes.add((start, stream))
        here.units.add((scan, unit))
    return found


def _sequences(connection: duckdb.DuckDBPyConnection, id: int) -> pa.Table:
    """Which sequence number each producer would have given the id: (stream, origin, sequence)."""
    producers = ask(connection, "whereabouts_producers").to_arrow_table()
    names = zip(producers["stream"].to_pylist(), producers["origin"].to_pylist(), strict=True)
    seeds = [producer_seed(stream, origin) for stream, origin in names]
    sequences = sequences_of([id] * len(seeds), seeds).astype("int64")
    return producers.append_column("sequence", pa.array(sequences))


def _asked(scopes: Sequence[Scope], id: int) -> pa.Table:
    return pa.table(
        {
            "window": pa.array([start for start, _ in scopes], pa.int64()).cast(TIME),
            "stream": pa.array([stream for _, stream in scopes], pa.string()),
            "id": pa.array([id] * len(scopes), pa.uint32()),
        }
    )


def _sightings(pipeline: Pipeline, stage: str, rows: pa.Table) -> list[Sighting]:
    opaque = pipeline.stage(stage).record.opaque
    for name in ("time", "window"):  # as numbers: Python's datetime ends at year 9999
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, name, rows[name].cast(pa.int64()))
    return [
        Sighting(
            stage=stage,
            time=row["time"],
            window=row["window"],
            stream=row["stream"],
            origin=row["origin"],
            sequence=None if opaque else _sequence(row["id"], row["stream"], row["origin"]),
            path=mask(row["path"]),
            partition=None if row["partition"] == -1 else row["partition"],
            offset=row["position"],
        )
        for row in rows.to_pylist()
    ]


def _sequence(id: int, stream: str, origin: str) -> int:
    return int(sequences_of([id], producer_seed(stream, origin))[0])
