"""From a report to rows of the star: which windows a run speaks of, and what it says of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fidelity.report import Report
from fidelity.star import digests
from fidelity.star.schema import (
    DIM_RUN,
    FACT_BALANCE,
    FACT_DIFFERENCE,
    FACT_FLAW,
    FACT_LAG,
    VERSION,
    Table,
)

DAY = 86_400_000_000
WHOLE = np.iinfo(np.int64).min
"""Stands for the window of what a run says as a whole."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Told:
    """What a report says, by window: its rows of each fact, and a digest of them."""

    report: Report

    @cached_property
    def facts(self) -> dict[str, pa.Table]:
        """The rows of the facts without their keys; `window` is int64, WHOLE for the run's own."""
        return {
            FACT_BALANCE.name: _plain(self.report.balances, FACT_BALANCE),
            FACT_DIFFERENCE.name: _plain(_differences(self.report.differences), FACT_DIFFERENCE),
            FACT_FLAW.name: _flaws(self.report),
            FACT_LAG.name: _plain(self.report.lags, FACT_LAG),
        }

    @cached_property
    def digests(self) -> dict[int, int]:
        """The digest of each window that has rows, and of WHOLE."""
        found: dict[int, int] = {WHOLE: 0}
        for name, rows in self.facts.items():
            windows = windows_of(rows)
            words = digests.of_rows(rows.drop_columns("window"), name)
            for window, digest in digests.of_groups(windows, words).items():
                total = (found.get(window, 0) + digest) & (2**64 - 1)
                found[window] = total - 2**64 if total >= 2**63 else total
        return found

    def covers(self, window: int) -> bool:
        """Whether the report speaks of a window, be it by having no row of it."""
        within = self.report.within
        return within is None or within[0] <= window < within[1]


def windows_of(rows: pa.Table) -> NDArray[np.int64]:
    """The column `window` of rows as `Told.facts` has them."""
    return np.asarray(rows["window"].combine_chunks().fill_null(WHOLE))


def counts(rows: pa.Table) -> dict[int, int]:
    """How many rows each window has."""
    names, numbers = np.unique(windows_of(rows), return_counts=True)
    return dict(zip(names.tolist(), numbers.tolist(), strict=True))


def day_of(window: int, report: Report) -> int:
    """The day, since 1970, whose folder holds a window's rows; of WHOLE: of the run's clock.

    Days that no calendar has, as data with wrong clocks may tell, are kept as the first or last.
    """
    day = (report.as_of if window == WHOLE else window) // DAY
    return max(_FIRST_DAY, min(day, _LAST_DAY))


_FIRST_DAY = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).days
_LAST_DAY = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH).days


def day_text(day: int) -> str:
    """2026-03-01."""
    return f"{(_EPOCH + timedelta(days=day)):%Y-%m-%d}"


def run_row(report: Report) -> pa.Table:
    """The row of dim_run, as long as it is not published: see `published`."""
    start, end = report.within or (None, None)
    severities = [finding.severity for finding in report.findings]
    row = {
        "run_key": 0,
        "pipeline": report.pipeline,
        "run": report.run,
        "as_of": report.as_of,
        "known_at": report.known_at,
        "verdict": report.verdict,
        "watermark": report.watermark,
        "window_us": report.window,
        "settle_us": report.settle,
        "interval_start": start,
        "interval_end": end,
        "coincident_ids": report.collision_budget.coincident_ids,
        "hidden_losses": report.collision_budget.hidden_losses,
        "errors": severities.count("error"),
        "warnings": severities.count("warning"),
        "published_at": 0,
        "content": 0,
        "version": VERSION,
    }
    return pa.Table.from_pylist([row], schema=DIM_RUN.schema)


def published(row: pa.Table, run_key: int = 0, at: int = 0, content: int = 0) -> pa.Table:
    """A row of dim_run as a publication has it, or, by default, as none has it yet."""
    for name, value in (("run_key", run_key), ("published_at", at), ("content", content)):
        field = row.schema.field(name)
        index = row.schema.get_field_index(name)
        row = row.set_column(index, field, pa.array([value], pa.int64()).cast(field.type))
    return row


def with_keys(rows: pa.Table, table: Table, report: Report, keys: Mapping[int, int]) -> pa.Table:
    """Rows of a fact as they are written.

    Args:
        keys: from window to statement_key; all windows of the rows are in it.
    """
    windows = windows_of(rows)
    names = np.array(sorted(keys), np.int64)
    values = np.array([keys[name] for name in names.tolist()], np.int64)
    columns = {
        "statement_key": pa.array(values[np.searchsorted(names, windows)]),
        "pipeline": pa.repeat(pa.scalar(report.pipeline), len(rows)),
        "run": pa.repeat(pa.scalar(report.run), len(rows)),
    }
    columns |= {name: rows[name] for name in rows.column_names}
    return pa.table(
        [columns[name].cast(table.schema.field(name).type) for name in table.schema.names],
        schema=table.schema,
    )


def _plain(rows: pa.Table, table: Table) -> pa.Table:
    at = rows.schema.get_field_index("window")
    rows = rows.set_column(at, "window", rows["window"].cast(pa.int64()))
    return rows.select([name for name in rows.column_names if name in table.schema.names])


def _differences(rows: pa.Table) -> pa.Table:
    place = rows["position"].combine_chunks()
    for n, name in enumerate(("path", "partition", "offset")):
        # Not place.field(n): that one forgets which positions are null.
        rows = rows.append_column(name, pc.struct_field(place, n))
    return rows


def _flaws(report: Report) -> pa.Table:
    """Each stage's flaws once: its rows against the source and the stage before tell the same."""
    flaws = {each.stage: each.flaws for each in report.stages}
    told = [(stage, kind, n) for stage, kinds in flaws.items() for kind, n in kinds.items()]
    return pa.table(
        {
            "stage": pa.array([stage for stage, _, _ in told], pa.string()),
            "kind": pa.array([kind for _, kind, _ in told], pa.string()),
            "records": pa.array([n for _, _, n in told], pa.int64()),
            "window": pa.array([WHOLE] * len(told), pa.int64()),
        }
    )
