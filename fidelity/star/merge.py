"""Keeping a star small: many publications' files become one for each table and day.

A merge writes the rows of whole days anew, under new keys, and then one file of dim_statement that
refers to them at a higher level: from then on they count, and the rows that they came from do not.
Those are removed last. Two merges at once both come out right: one of the equal copies counts.
"""

import time

import pyarrow as pa
import pyarrow.compute as pc

from fidelity.errors import StoreError
from fidelity.questions import ask, connect
from fidelity.star import digests
from fidelity.star.held import Held
from fidelity.star.place import NO_DAY, Place, new_part, written_at
from fidelity.star.schema import DIM_RUN, DIM_STATEMENT, FACT_BALANCE, FACT_DAY, FACTS, Table

MANY = 24
"""Publications that are merged: a day of hourly runs."""

_IN_FLIGHT = 86_400_000_000  # how long an unfinished publication is left alone, microseconds
_COUNTS = dict(
    zip((table.name for table in FACTS), ("balances", "differences", "flaws", "lags"), strict=True)
)
_SORTED = [(n, "ascending") for n in ("stage", "against", "stream", "window", "run")]


def sweep(place: Place, held: Held) -> Held:
    """Remove what counts no more; what the star holds then."""
    runs, statements = held.dead_files()
    place.remove(
        place.path(table, part, f"{day:%Y-%m-%d}")
        for part, day in held.dead_parts()
        for table in (*FACTS, FACT_DAY)
    )
    place.remove(place.path(DIM_STATEMENT, part) for part in statements)
    place.remove(place.path(DIM_RUN, part) for part in runs)
    return Held(_without(held.runs, runs), _without(held.statements, statements))


def untidy(held: Held) -> bool:
    """Whether there is something to sweep or, with one publication more, to merge."""
    dead = pc.and_(pc.invert(held.marked["live"]), held.marked["known"])
    return bool(pc.any(dead).as_py()) or len(_fresh_parts(held)) + 1 >= MANY


def _fresh_parts(held: Held) -> set[str]:
    """The publications whose rows were never merged."""
    fresh = held.marked.filter(pc.and_(held.marked["live"], pc.equal(held.marked["level"], 0)))
    return set(fresh["part"].to_pylist())


def merge_if_many(place: Place, held: Held) -> None:
    """Merge the days that too many publications have files of, or dead rows in files that count."""
    fresh = held.marked.filter(pc.and_(held.marked["live"], pc.equal(held.marked["level"], 0)))
    if len(_fresh_parts(held)) >= MANY:
        merge(place, held, set(fresh["day"].to_pylist()))
        return
    stale = held.marked.filter(pc.and_(pc.invert(held.marked["live"]), held.marked["known"]))
    if len(stale):
        merge(place, held, set(stale["day"].to_pylist()))


def merge(place: Place, held: Held, days: set[object]) -> None:
    """Write these days anew. Raises StoreError."""
    part = new_part(time.time_ns() // 1000)
    live = held.marked.filter(held.marked["live"]).select(DIM_STATEMENT.schema.names)
    moved = pc.is_in(live["day"], pa.array(sorted(days, key=str), pa.date32()))
    kept, old = live.filter(pc.invert(moved)), live.filter(moved)
    new = _rekeyed(old, part)
    current = new.filter(pc.is_in(old["statement_key"], held.current))
    for day in sorted(days, key=str):
        at = pc.equal(old["day"], pa.scalar(day, pa.date32()))
        text = f"{day:%Y-%m-%d}"
        merged = {
            table: _merge_day(place, table, part, text, old.filter(at), new.filter(at))
            for table in FACTS
        }
        if (balances := merged[FACT_BALANCE]) is not None:
            is_current = pc.is_in(
                balances["statement_key"], current["statement_key"].combine_chunks()
            )
            statements = pc.sum(pc.and_(at, pc.is_valid(old["window"]))).as_py()
            added = _added_up(balances.filter(is_current), part, statements)
            place.write(FACT_DAY, part, added, text)
    place.write(DIM_STATEMENT, part, pa.concat_tables([kept, new]).cast(DIM_STATEMENT.schema))
    runs = held.marked_runs.filter(held.marked_runs["live"]).select(DIM_RUN.schema.names)
    place.write(DIM_RUN, part, runs.cast(DIM_RUN.schema))
    sweep(place, Held.of(place))


def _rekeyed(old: pa.Table, part: str) -> pa.Table:
    keys = [digests.key(f"{part} {key}") for key in old["statement_key"].to_pylist()]
    columns = {name: old[name] for name in old.column_names}
    columns["statement_key"] = pa.chunked_array([pa.array(keys, pa.int64())])
    columns["level"] = pc.add(old["level"], pa.scalar(1, pa.int32()))
    columns["part"] = pa.chunked_array([pa.repeat(pa.scalar(part), len(old))])
    return pa.table(columns).cast(DIM_STATEMENT.schema)


def _merge_day(
    place: Place, table: Table, part: str, day: str, old: pa.Table, new: pa.Table
) -> pa.Table | None:
    """The rows of the statements `old` in one file, as those of `new`; None if there are none."""
    due = pc.sum(old[_COUNTS[table.name]]).as_py() or 0
    if not due:
        return None
    holding = old.filter(pc.greater(old[_COUNTS[table.name]], 0))
    parts = sorted(set(holding["part"].to_pylist()))
    rows = pa.concat_tables(place.each(lambda each: place.read(table, each, day), parts))
    rows = rows.filter(pc.is_in(rows["statement_key"], old["statement_key"].combine_chunks()))
    if len(rows) != due:
        what = f"{table.name} of {day} has {len(rows):,} rows where {due:,} were published."
        action = "Remove the star, and publish the runs again: `fidelity store runs` lists them."
        raise StoreError(what, where=place.uri, action=action)
    at = pc.index_in(rows["statement_key"], old["statement_key"].combine_chunks())
    rows = rows.set_column(0, table.schema.field(0), new["statement_key"].take(at))
    order = [key for key in _SORTED if key[0] in table.schema.names]
    rows = rows.sort_by(order).cast(table.schema)
    place.write(table, part, rows, day)
    return rows


def _added_up(balances: pa.Table, part: str, statements: int) -> pa.Table:
    """The rows of fact_day of a day's current rows."""
    with connect() as connection:
        connection.register("current_balance", balances)
        found = ask(connection, "star_day", part=part, statements=statements)
        return found.to_arrow_table().cast(FACT_DAY.schema)


def clear_away(place: Place, held: Held) -> int:
    """Remove what publications that died left behind, a day after; how many files that were."""
    known = set(held.marked.filter(held.marked["known"])["part"].to_pylist())
    limit = time.time_ns() // 1000 - _IN_FLIGHT
    left = []
    for table in FACTS:
        for day in place.names(table.name):
            if day == f"day={NO_DAY}" or not day.startswith("day="):
                continue
            for name in place.names(f"{table.name}/{day}"):
                stem = name.lstrip(".").partition(".parquet")[0]
                at = written_at(stem)
                if at is not None and at < limit and stem not in known:
                    left.append(f"{place.uri}/{table.name}/{day}/{name}")
    place.remove(left)
    return len(left)


def _without(rows: pa.Table, files: list[str]) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows["file"], pa.array(files, pa.string()))))
