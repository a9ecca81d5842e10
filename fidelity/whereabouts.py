"""Whereabouts: at which stages was the record with one id seen?

The sketches say in which windows and streams it may be; only the units of those are read again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from fidelity.config import Pipeline
from fidelity.identity import producer_seed, sequences_of
from fidelity.questions import ask, connect
from fidelity.report import TIME, iso
from fidelity.store import Snapshot
from fidelity.trace import trace
from fidelity.units import LedgerRow

Scope = tuple[int, str]
"""(window in microseconds, stream)."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Copies of the id at one stage, from one producer."""

    stage: str
    window: int  # microseconds
    stream: str
    origin: str
    sequence: int | None  # None for opaque ids
    copies: int


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
                    "window": iso(each.window),
                    "stream": each.stream,
                    "origin": each.origin,
                    "sequence": each.sequence,
                    "copies": each.copies,
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
    scopes = _scopes(snapshot, id, window)
    sightings: list[Sighting] = []
    untold: dict[str, str] = {}
    # A trace looks at two stages at once, so each is read once.
    for at in range(0, len(asked), 2):
        here, there = asked[at], asked[min(at + 1, len(asked) - 1)]
        both = sorted({*scopes.get(here, ()), *scopes.get(there, ())})
        if not both:
            continue
        traced = trace(pipeline, here, there, ledger, both, _asked(both, id))
        for reason in list(traced.untraceable.values())[:1]:
            untold[here] = untold[there] = reason
        counts = {here: "r", there: "d"}  # of a stage against itself, d is what counts
        for stage, column in counts.items():
            sightings += _sightings(pipeline, stage, column, traced.rows)
    order = {name: place for place, name in enumerate(asked)}
    sightings.sort(key=lambda each: (order[each.stage], each.window, each.stream, each.origin))
    return Whereabouts(id, tuple(asked), tuple(sightings), untold)


def _scopes(snapshot: Snapshot, id: int, window: tuple[int, int] | None) -> dict[str, list[Scope]]:
    """By stage, the scopes whose sketches have something in each of the id's three cells."""
    first, last = window or (-(2**63), 2**63 - 1)
    with connect() as connection:
        connection.register("in_force", snapshot.in_force())
        connection.register("observations", snapshot.observations())
        rows = _rows(connection, id, first, last)
    found: dict[str, list[Scope]] = {}
    for stage, start, stream in rows:
        found.setdefault(stage, []).append((start, stream))
    return found


def _rows(connection: duckdb.DuckDBPyConnection, id: int, first: int, last: int) -> list[Any]:
    cells = {f"cell_{band}": id >> 7 * band & 127 for band in range(3)}
    return ask(connection, "whereabouts", first=first, last=last, **cells).fetchall()


def _asked(scopes: Sequence[Scope], id: int) -> pa.Table:
    return pa.table(
        {
            "window": pa.array([start for start, _ in scopes], pa.int64()).cast(TIME),
            "stream": pa.array([stream for _, stream in scopes], pa.string()),
            "id": pa.array([id] * len(scopes), pa.uint32()),
        }
    )


def _sightings(pipeline: Pipeline, stage: str, column: str, rows: pa.Table) -> list[Sighting]:
    opaque = pipeline.stage(stage).record.opaque
    plain = rows.set_column(
        rows.schema.get_field_index("window"), "window", rows["window"].cast(pa.int64())
    )
    return [
        Sighting(
            stage=stage,
            window=row["window"],
            stream=row["stream"],
            origin=row["origin"],
            sequence=None if opaque else _sequence(row["id"], row["stream"], row["origin"]),
            copies=row[column],
        )
        for row in plain.to_pylist()
        if row[column]
    ]


@cache
def _sequence(id: int, stream: str, origin: str) -> int:
    return int(sequences_of([id], producer_seed(stream, origin))[0])
