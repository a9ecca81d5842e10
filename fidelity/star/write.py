"""Publishing a run in the star: its facts first, its row of dim_run last.

Invariants: until that last file is there nothing of the run counts, and what was there before still
does; from then on all of it does, and an earlier publication of the same run does not. Publications
of different runs touch no file of each other's. What is stated for newer runs counts at once: it
says what they say already. docs/decisions/star.md says why it is so.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fidelity.config import Pipeline
from fidelity.errors import UsageError
from fidelity.report import Report
from fidelity.star import digests, dimensions
from fidelity.star.copies import Copies, Copy
from fidelity.star.held import Held, while_it_changes
from fidelity.star.merge import MANY, sweep, tidy, untidy
from fidelity.star.place import Place, new_part
from fidelity.star.plan import Plan, planned
from fidelity.star.rows import (
    WHOLE,
    Told,
    counts,
    day_of,
    day_text,
    published,
    windows_of,
    with_keys,
)
from fidelity.star.schema import DIM_RUN, DIM_STATEMENT, FACT_BALANCE, FACTS, Table

_COUNTED = dict(zip(("balances", "differences", "flaws", "lags"), FACTS, strict=True))


@dataclass(frozen=True, slots=True)
class Done:
    """What a publication did."""

    windows: int  # that the run speaks of
    rows: Mapping[str, int]  # written, by table
    unchanged: bool  # the run was published before, with just these rows

    def __str__(self) -> str:
        windows = f"{self.windows:,} window{'' if self.windows == 1 else 's'}"
        if self.unchanged:
            return f"{windows}, as published before"
        rows = sum(self.rows.values())
        return f"{windows}, {rows:,} row{'' if rows == 1 else 's'}"


def publish_star(place: Place, pipeline: Pipeline, report: Report, many: int = MANY) -> Done:
    """Publish what a report says that the star does not hold yet.

    A report narrowed to windows says all that it has of them, and leaves what its run said of
    others; a whole one says what is new or changed since the runs before it. What newer runs say
    stays as it is.

    Args:
        many: so many publications are merged into one.

    Raises:
        UsageError: the report is narrowed to some stages.
        StoreError: the star cannot be read or written, or something else is there.
    """
    if report.only:
        what = (
            "a report of some stages only cannot be published: its windows would lack the others."
        )
        raise UsageError(what, where=report.run, action="Publish the whole run.")
    place.prepare()
    told = Told(report)
    return while_it_changes(place, lambda: _publish(place, pipeline, told, many))


def _publish(place: Place, pipeline: Pipeline, told: Told, many: int) -> Done:
    """Raises StoreError, and Gone: before anything is written."""
    held = Held.of(place)
    plan = planned(held, told)
    if plan.unchanged:
        sweep(place, held)
        return Done(plan.windows, {}, True)
    now = _now(plan)
    part = new_part(now)
    run = published(plan.row, digests.key(part), now, plan.content)
    copies = Copies.of(place, held, part, _copied(plan, run))
    keys = {window: digests.key(f"{part} {window}") for window in plan.stated}
    rows = _write_facts(place, part, told, keys, copies)
    dimensions.write(place, pipeline, told.report, plan.stated, part)
    own = _statements(part, told, keys)
    statements = pa.concat_tables([own, copies.statements, _empty(part, told.report, plan)])
    place.write(DIM_STATEMENT, part, statements)
    place.write(DIM_RUN, part, run)
    if plan.earlier is not None or untidy(held, many):
        tidy(place, held.with_more(part, run, statements), many)
    return Done(plan.windows, rows, False)


def _now(plan: Plan) -> int:
    """When the run is published: later than before, or what is published now would not count."""
    now = time.time_ns() // 1000
    if plan.earlier is None:
        return now
    # Clocks of machines differ.
    before: int = plan.earlier["published_at"].cast(pa.int64())[0].as_py()
    return max(now, before + 1)


def _copied(plan: Plan, run: pa.Table) -> list[Copy]:
    """What goes on being said: by this run, and by newer ones."""
    own = (run["run_key"][0].as_py(), run["run"][0].as_py())
    kept = [Copy(said.key, *own) for said in plan.kept.values()]
    carried = [each for each in plan.carried.values() if each.said.rows]
    return kept + [Copy(each.said.key, each.run_key, each.run) for each in carried]


def _write_facts(
    place: Place, part: str, told: Told, keys: Mapping[int, int], copies: Copies
) -> dict[str, int]:
    written: dict[str, int] = {}
    for table in FACTS:
        by_day = _by_day(told, table, keys)
        for day, rows in copies.facts[table.name].items():
            by_day[day] = pa.concat_tables([by_day[day], rows]) if day in by_day else rows
        for day, rows in by_day.items():
            place.write(table, part, rows, day=day)
        written[table.name] = sum(map(len, by_day.values()))
    return written


def _by_day(told: Told, table: Table, keys: Mapping[int, int]) -> dict[str, pa.Table]:
    """A fact's rows of the windows that are in `keys`, by the folder that they go to."""
    rows = told.facts[table.name]
    spoken = pa.array(sorted(keys), pa.int64())
    rows = rows.filter(pc.is_in(pa.array(windows_of(rows)), spoken))
    days = np.array([day_of(w, told.report) for w in windows_of(rows).tolist()], np.int64)
    return {
        day_text(day): with_keys(rows.filter(pa.array(days == day)), table, told.report, keys)
        for day in np.unique(days).tolist()
    }


def _statements(part: str, told: Told, keys: Mapping[int, int]) -> pa.Table:
    facts = told.facts
    numbers = {name: counts(facts[table.name]) for name, table in _COUNTED.items()}
    balances = facts[FACT_BALANCE.name]
    numbers["unsettled"] = counts(balances.filter(pc.invert(balances["settled"])))
    rows = [
        {
            "statement_key": key,
            "run_key": digests.key(part),
            "window": None if window == WHOLE else window,
            "day": day_of(window, told.report),
            "level": 0,
            "part": part,
            "digest": told.digests.get(window, 0),
            **{name: number.get(window, 0) for name, number in numbers.items()},
        }
        for window, key in keys.items()
    ]
    return pa.Table.from_pylist(rows, schema=DIM_STATEMENT.schema)


def _empty(part: str, report: Report, plan: Plan) -> pa.Table:
    """The statements of newer runs that there is nothing of a window."""
    rows = [
        {
            "statement_key": digests.key(f"{part} {each.run_key} {window}"),
            "run_key": each.run_key,
            "window": window,
            "day": day_of(window, report),
            "level": 0,
            "part": part,
            "digest": 0,
            **dict.fromkeys((*_COUNTED, "unsettled"), 0),
        }
        for window, each in plan.carried.items()
        if not each.said.rows
    ]
    return pa.Table.from_pylist(rows, schema=DIM_STATEMENT.schema)
