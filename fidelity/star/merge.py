"""Keeping a star small: many publications' files become one for each table and day.

A merge writes the rows of whole days anew, under new keys, and then one file of dim_statement that
refers to them at a higher level: from then on they count, and the rows that they came from do not.
Those are removed last. Two merges at once both come out right: one of the equal copies counts.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from fidelity.questions import ask, connect
from fidelity.star.copies import copy_of_day, days_of, rekeyed
from fidelity.star.held import Held
from fidelity.star.place import Gone, Place, new_part, written_at
from fidelity.star.schema import DIM_RUN, DIM_STATEMENT, FACT_BALANCE, FACT_DAY, FACTS, Table

MANY = 24
"""Publications that are merged: a day of hourly runs."""

_IN_FLIGHT = 3_600_000_000  # how long an unfinished publication is left alone, microseconds
_SORTED = [(n, "ascending") for n in ("stage", "against", "stream", "window", "run")]


def tidy(place: Place, held: Held, many: int) -> None:
    """Remove what counts no more, and merge what there is too much of. Raises StoreError."""
    with suppress(Gone):  # somebody else merges: the next publication looks again
        _merge_if_many(place, sweep(place, held), many)


def sweep(place: Place, held: Held) -> Held:
    """Remove what counts no more; what the star holds then."""
    runs, statements = held.dead_files()
    parts = held.dead_parts()
    if not (runs or statements or parts):
        return held
    time.sleep(place.grace)
    place.remove(
        place.path(table, part, f"{day:%Y-%m-%d}") for part, day in parts for table in FACTS
    )
    place.remove(place.path(DIM_STATEMENT, part) for part in statements)
    place.remove(place.path(DIM_RUN, part) for part in runs)
    return Held(_without(held.runs, runs), _without(held.statements, statements))


def untidy(held: Held, many: int) -> bool:
    """Whether there is something to sweep or, with one publication more, to merge."""
    dead = pc.and_(pc.invert(held.marked["live"]), held.marked["known"])
    return bool(pc.any(dead).as_py()) or len(_fresh_parts(held)) + 1 >= many


def _fresh_parts(held: Held) -> set[str]:
    """The publications whose rows were never merged."""
    fresh = held.marked.filter(pc.and_(held.marked["live"], pc.equal(held.marked["level"], 0)))
    return set(fresh["part"].to_pylist())


def _merge_if_many(place: Place, held: Held, many: int) -> None:
    """Merge the days that too many publications have files of, or dead rows in files that count."""
    fresh = held.marked.filter(pc.and_(held.marked["live"], pc.equal(held.marked["level"], 0)))
    if len(_fresh_parts(held)) >= many:
        merge(place, held, set(fresh["day"].to_pylist()))
        return
    stale = held.marked.filter(pc.and_(pc.invert(held.marked["live"]), held.marked["known"]))
    if len(stale):
        merge(place, held, set(stale["day"].to_pylist()))


def merge(place: Place, held: Held, days: set[date]) -> None:
    """Write these days anew. Raises StoreError."""
    part = new_part(time.time_ns() // 1000)
    live = held.marked.filter(held.marked["live"]).select(DIM_STATEMENT.schema.names)
    moved = pc.is_in(live["day"], pa.array(sorted(days), pa.date32()))
    kept, old = live.filter(pc.invert(moved)), live.filter(moved)
    new = rekeyed(old, part, pc.add(old["level"], pa.scalar(1, pa.int32())))
    current = new.filter(pc.is_in(old["statement_key"], held.current))
    sums = [_sums_of_other_days(place, days, part)]
    for day in sorted(days):
        at = pc.equal(old["day"], pa.scalar(day, pa.date32()))
        merged = {table: _merge_day(place, table, day, old, new, part) for table in FACTS}
        if (balances := merged[FACT_BALANCE]) is not None:
            is_current = pc.is_in(
                balances["statement_key"], current["statement_key"].combine_chunks()
            )
            statements = pc.sum(pc.and_(at, pc.is_valid(old["window"]))).as_py()
            sums.append(_added_up(balances.filter(is_current), day, part, statements))
    place.write(FACT_DAY, part, pa.concat_tables(sums))
    place.write(DIM_STATEMENT, part, pa.concat_tables([kept, new]).cast(DIM_STATEMENT.schema))
    runs = held.marked_runs.filter(held.marked_runs["live"]).select(DIM_RUN.schema.names)
    place.write(DIM_RUN, part, runs.cast(DIM_RUN.schema))
    left = sweep(place, Held.of(place))
    place.remove(place.path(FACT_DAY, old) for old in place.parts(FACT_DAY) if old < part)
    _clear_away(place, left, sorted(days))


def _merge_day(
    place: Place, table: Table, day: date, old: pa.Table, new: pa.Table, part: str
) -> pa.Table | None:
    """The rows of the statements `old` in one file, as those of `new`; None if there are none."""
    if day not in days_of(table, old):
        return None
    order = [key for key in _SORTED if key[0] in table.schema.names]
    rows = copy_of_day(place, table, day, old, new).sort_by(order).cast(table.schema)
    place.write(table, part, *row_groups(table, rows), day=f"{day:%Y-%m-%d}")
    return rows


def row_groups(table: Table, rows: pa.Table) -> list[pa.Table]:
    """Balances that lost records lie apart: who asks for losses need not read all the others."""
    if table is not FACT_BALANCE:
        return [rows]
    lossy = pc.greater(rows["lost"], 0)
    return [rows.filter(lossy), rows.filter(pc.invert(lossy))]


def _sums_of_other_days(place: Place, days: set[date], merge: str) -> pa.Table:
    """What fact_day has of other days than these, as written by a merge."""
    parts = [part for part in place.parts(FACT_DAY) if written_at(part) is not None]
    if not parts:
        return FACT_DAY.schema.empty_table()
    rows = place.read(FACT_DAY, max(parts))
    rows = rows.filter(pc.invert(pc.is_in(rows["day"], pa.array(sorted(days), pa.date32()))))
    return _written_by(rows, merge)


def _written_by(sums: pa.Table, merge: str) -> pa.Table:
    at = sums.schema.get_field_index("merge")
    return sums.set_column(at, sums.schema.field(at), pa.repeat(pa.scalar(merge), len(sums)))


def _added_up(balances: pa.Table, day: date, part: str, statements: int) -> pa.Table:
    """The rows of fact_day of a day's current rows."""
    with connect() as connection:
        connection.register("current_balance", balances)
        found = ask(connection, "star_day", day=day, part=part, statements=statements)
        return found.to_arrow_table().cast(FACT_DAY.schema)


def _clear_away(place: Place, held: Held, days: Iterable[date]) -> None:
    """Remove what publications that died left behind in these days' folders, an hour after."""
    limit = time.time_ns() // 1000 - _IN_FLIGHT
    live = held.marked.filter(held.marked["live"])
    parts = set(live["part"].to_pylist())
    left = [
        f"{place.uri}/{folder}/{name}"
        for table in FACTS
        for folder in (f"{table.name}/day={day:%Y-%m-%d}" for day in days)
        for name in place.names(folder)
        if _died(name, parts, limit)
    ]
    files = set(live["file"].to_pylist())
    left += [
        f"{place.uri}/{DIM_STATEMENT.name}/{name}"
        for name in place.names(DIM_STATEMENT.name)
        if _died(name, files, limit)
    ]
    place.remove(left)


def _died(name: str, live: set[str], limit: int) -> bool:
    """Whether a file is neither part of what counts nor of a publication under way."""
    part = name.lstrip(".").partition(".parquet")[0]
    at = written_at(part)
    return at is not None and at < limit and part not in live


def _without(rows: pa.Table, files: list[str]) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows["file"], pa.array(files, pa.string()))))
