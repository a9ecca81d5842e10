"""Statements made anew under keys of their own, with their rows: by a merge, or by a publication.

Whoever copies refers to its own files only, so nothing is lost when those that it read are removed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from fidelity.config import mask
from fidelity.errors import StoreError
from fidelity.star import digests
from fidelity.star.held import Held
from fidelity.star.place import ANEW, Place
from fidelity.star.schema import DIM_STATEMENT, FACTS, Table

_COUNTS = dict(
    zip((table.name for table in FACTS), ("balances", "differences", "flaws", "lags"), strict=True)
)


@dataclass(frozen=True, slots=True)
class Copy:
    """A statement that is to be made anew, and the run that it is of from now on."""

    key: int
    run_key: int
    run: str


@dataclass(frozen=True, slots=True)
class Copies:
    """Statements under their new keys, and their rows by table and day."""

    statements: pa.Table
    facts: Mapping[str, Mapping[str, pa.Table]]

    @classmethod
    def of(cls, place: Place, held: Held, part: str, wanted: Sequence[Copy]) -> "Copies":
        """Read what is to be copied, as `part` will have it. Raises StoreError and Gone."""
        live = held.marked.filter(held.marked["live"]).select(DIM_STATEMENT.schema.names)
        keys = pa.array([each.key for each in wanted], pa.int64())
        old = live.take(pc.index_in(keys, live["statement_key"].combine_chunks()))
        new = rekeyed(old, part, pa.repeat(pa.scalar(0, pa.int32()), len(old)))
        owners = pa.array([each.run_key for each in wanted], pa.int64())
        at = new.schema.get_field_index("run_key")
        new = new.set_column(at, new.schema.field(at), owners)
        runs = pa.array([each.run for each in wanted], pa.string())
        facts = {
            table.name: {
                f"{day:%Y-%m-%d}": _told_by(copy_of_day(place, table, day, old, new), new, runs)
                for day in days_of(table, old)
            }
            for table in FACTS
        }
        return cls(new, facts)


def rekeyed(old: pa.Table, part: str, levels: pa.Array) -> pa.Table:
    """The statements of `old` as those of a part, at these levels."""
    keys = [digests.key(f"{part} {key}") for key in old["statement_key"].to_pylist()]
    columns = {name: old[name] for name in old.column_names}
    columns["statement_key"] = pa.chunked_array([pa.array(keys, pa.int64())])
    columns["level"] = levels
    columns["part"] = pa.chunked_array([pa.repeat(pa.scalar(part), len(old))])
    return pa.table(columns).cast(DIM_STATEMENT.schema)


def days_of(table: Table, statements: pa.Table) -> list[date]:
    """The days of which statements have rows of a fact."""
    holding = statements.filter(pc.greater(statements[_COUNTS[table.name]], 0))
    return sorted(pc.unique(holding["day"]).to_pylist())


def copy_of_day(place: Place, table: Table, day: date, old: pa.Table, new: pa.Table) -> pa.Table:
    """The rows of a day of the statements `old`, as those of `new`. Raises StoreError and Gone."""
    of_day = pc.equal(old["day"], pa.scalar(day, pa.date32()))
    old, new = old.filter(of_day), new.filter(of_day)
    holding = old.filter(pc.greater(old[_COUNTS[table.name]], 0))
    text, keys = f"{day:%Y-%m-%d}", old["statement_key"].combine_chunks()
    rows = pa.concat_tables(place.each(lambda part: place.read(table, part, text), _parts(holding)))
    rows = rows.filter(pc.is_in(rows["statement_key"], keys))
    due = pc.sum(old[_COUNTS[table.name]]).as_py()
    if len(rows) != due:
        what = f"{table.name} of {text} has {len(rows):,} rows where {due:,} were published."
        raise StoreError(what, where=mask(place.uri), action=ANEW)
    at = pc.index_in(rows["statement_key"], keys)
    return rows.set_column(0, table.schema.field(0), new["statement_key"].take(at))


def _parts(statements: pa.Table) -> list[str]:
    return sorted(set(statements["part"].to_pylist()))


def _told_by(rows: pa.Table, statements: pa.Table, runs: pa.Array) -> pa.Table:
    """Rows whose `run` is the one that their statement is of."""
    at = pc.index_in(rows["statement_key"], statements["statement_key"].combine_chunks())
    index = rows.schema.get_field_index("run")
    return rows.set_column(index, rows.schema.field(index), runs.take(at.combine_chunks()))
