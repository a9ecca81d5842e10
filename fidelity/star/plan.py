"""What a publication is going to state: of its own run, and for newer runs that were silent.

Law: what the star says in the end does not depend on the order in which runs are published. A run
that states nothing of a window says of it what was said before it; so, when that is told anew, the
next newer run is given a statement of what it has been saying.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa

from fidelity.report import Report
from fidelity.star import digests
from fidelity.star.held import Held, Said
from fidelity.star.rows import WHOLE, Told, published, run_row
from fidelity.star.schema import DIM_RUN

_NOTHING = Said(0, 0, 0)
Statements = Mapping[int, Said]
"""By window."""


@dataclass(frozen=True)
class Carried:
    """What a newer run has been saying of a window without a statement of its own."""

    said: Said
    run_key: int
    run: str


@dataclass(frozen=True)
class Plan:
    """What is going to be stated, by window (WHOLE: of the run as a whole)."""

    row: pa.Table  # of dim_run, as not published yet
    stated: Mapping[int, int]  # the digests of the report's own statements
    kept: Statements  # those that the run made before, of windows that the report is not about
    carried: Mapping[int, Carried]
    earlier: pa.Table | None  # the run's row of dim_run, as it counts now
    said: Statements  # what the run states now

    @property
    def windows(self) -> int:
        """How many windows are stated of the report."""
        return len(self.stated.keys() - {WHOLE})

    @cached_property
    def content(self) -> int:
        """What tells one publication of a run from another."""
        return _content(self.row, {**self.stated, **_digests(self.kept)})

    @property
    def unchanged(self) -> bool:
        """Whether the run says just this already."""
        if self.earlier is None:
            return False
        return _content(published(self.earlier), _digests(self.said)) == self.content


def planned(held: Held, told: Told) -> Plan:
    """What is to be stated of a report, the star holding what it does."""
    report = told.report
    earlier = held.publication(report.pipeline, report.run)
    said = {} if earlier is None else held.statements_of(earlier)
    before = held.baseline(report.pipeline, report.as_of, report.run)
    interval, apart = _interval(report, earlier)
    stays_whole = interval is None and report.within is not None
    kept = {w: each for w, each in said.items() if not told.covers(w)}
    if not stays_whole:
        kept.pop(WHOLE, None)
    windows = _spoken_of(told, before, interval is None) | {WHOLE, *apart}
    stated = {w: told.digests.get(w, 0) for w in windows - kept.keys()}
    return Plan(
        published(earlier) if stays_whole else run_row(replace(report, within=interval)),
        stated,
        kept,
        _carried(held, report, _changed(stated, kept, said, before)),
        earlier,
        said,
    )


def _interval(report: Report, earlier: pa.Table | None) -> tuple[tuple[int, int] | None, range]:
    """What the run is narrowed to (None: it is whole), and the windows beyond that it speaks of.

    A run that was published whole stays so. Intervals that touch become one; of two that do not,
    the windows of the shorter one are told one by one.
    """
    if report.within is None:
        return None, range(0)
    if earlier is None:
        return report.within, range(0)
    start, end = (earlier[name].cast(pa.int64())[0].as_py() for name in _INTERVAL)
    if start is None:
        return None, range(0)
    first, second = sorted([report.within, (start, end)])
    if second[0] <= first[1]:
        return (first[0], max(first[1], second[1])), range(0)
    short, long = sorted([first, second], key=lambda each: each[1] - each[0])
    return long, range(*short, report.window)


_INTERVAL = ("interval_start", "interval_end")


def _spoken_of(told: Told, before: Statements, whole: bool) -> set[int]:
    """The windows to be stated: what the report has, and what it has no longer.

    Of a whole run only what differs from the runs before it: of the rest it says the same.
    """
    windows = told.digests.keys() - {WHOLE}
    if whole:
        windows = {w for w in windows if before.get(w, _NOTHING).digest != told.digests[w]}
    gone = (w for w, said in before.items() if said.rows and w not in told.digests)
    return windows | {w for w in gone if told.covers(w)}


def _changed(
    stated: Mapping[int, int], kept: Statements, said: Statements, before: Statements
) -> dict[int, Said]:
    """What the star says up to this run of windows of which it is going to say something else."""
    was = {w: said.get(w) or before.get(w, _NOTHING) for w in stated.keys() | said.keys()}
    now = {w: stated.get(w, before.get(w, _NOTHING).digest) for w in was}
    return {w: each for w, each in was.items() if w not in kept and each.digest != now[w]}


def _carried(held: Held, report: Report, changed: dict[int, Said]) -> dict[int, Carried]:
    changed.pop(WHOLE, None)
    silent = held.silent(changed, report.pipeline, report.as_of, report.run) if changed else {}
    return {window: Carried(changed[window], *newer) for window, newer in silent.items()}


def _digests(statements: Statements) -> dict[int, int]:
    return {window: said.digest for window, said in statements.items()}


def _content(row: pa.Table, said: Mapping[int, int]) -> int:
    words = [int(digests.of_rows(row, DIM_RUN.name)[0])]
    words += [number for window in sorted(said) for number in (window, said[window])]
    return digests.key(" ".join(map(str, words)))
