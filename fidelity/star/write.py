"""Publishing a run in the star: its facts first, its row of dim_run last.

Invariants: until that last file is there nothing of the run counts, and what was there before still
does; from then on all of it does, and an earlier publication of the same run does not. Publications
of different runs touch no file of each other's. docs/decisions/star.md says why it is so.
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
from fidelity.star.held import Held
from fidelity.star.merge import MANY, sweep, tidy, untidy
from fidelity.star.place import Place, new_part
from fidelity.star.rows import WHOLE, Told, counts, day_of, day_text, run_row, windows_of, with_keys
from fidelity.star.schema import DIM_RUN, DIM_STATEMENT, FACT_BALANCE, FACTS

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

    A report narrowed to windows says all that it has of them; a whole one says what is new or
    changed since the runs before it.

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
    held, told = Held.of(place), Told(report)
    windows = _spoken_of(told, held.baseline(report.pipeline, report.as_of, report.run))
    earlier = held.publication(report.pipeline, report.run)
    content = _content(told, windows)
    if earlier is not None and earlier["content"] == content:
        sweep(place, held)
        return Done(len(windows) - 1, {}, True)
    now = time.time_ns() // 1000
    # Clocks of machines differ, and the later publication is the one that counts.
    now = max(now, earlier["published_at"] + 1) if earlier else now
    part = new_part(now)
    keys = {window: digests.key(f"{part} {window}") for window in windows}
    rows = _write_facts(place, part, told, keys)
    dimensions.write(place, pipeline, report, windows, part)
    run = run_row(report, digests.key(part), now, content)
    statements = _statements(part, told, keys)
    place.write(DIM_STATEMENT, part, statements)
    place.write(DIM_RUN, part, run)
    if earlier is not None or untidy(held, many):
        tidy(place, held.with_more(part, run, statements), many)
    return Done(len(windows) - 1, rows, False)


def _spoken_of(told: Told, before: Mapping[int, tuple[int, int]]) -> list[int]:
    """The windows of the run's statements: WHOLE, what it has, and what it has no longer."""
    windows = set(told.digests)
    if told.report.within is None:
        windows = {w for w in windows if before.get(w, (None, 0))[0] != told.digests[w]}
    gone = (w for w, (_, rows) in before.items() if rows and w not in told.digests)
    return sorted(windows | {WHOLE} | {w for w in gone if told.covers(w)})


def _content(told: Told, windows: list[int]) -> int:
    """What tells one publication of a run from another."""
    run = run_row(told.report, 0, 0, 0)
    words = [int(digests.of_rows(run, DIM_RUN.name)[0])]
    words += [number for w in windows for number in (w, told.digests.get(w, 0))]
    return digests.key(" ".join(map(str, words)))


def _write_facts(place: Place, part: str, told: Told, keys: Mapping[int, int]) -> dict[str, int]:
    spoken = pa.array(sorted(keys), pa.int64())
    written: dict[str, int] = {}
    for table in FACTS:
        rows = told.facts[table.name]
        rows = rows.filter(pc.is_in(pa.array(windows_of(rows)), spoken))
        written[table.name] = len(rows)
        windows = windows_of(rows)
        days = np.array([day_of(w, told.report) for w in windows.tolist()], np.int64)
        for day in np.unique(days).tolist():
            of_day = with_keys(rows.filter(pa.array(days == day)), table, told.report, keys)
            place.write(table, part, of_day, day=day_text(day))
    return written


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
