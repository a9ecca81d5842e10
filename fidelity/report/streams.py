"""Books by stream: the balances of each stage, reference and stream, added up over all windows.

Law: over the streams, each count adds up to that of the stage's books.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from fidelity.report import COUNTS, Report, Verdict, worst_verdict
from fidelity.report.nines import nines

OTHER = "_other"
"""What the streams, or origins, that there is no room for are added up under."""


@dataclass(frozen=True, slots=True)
class StreamBooks:
    """The totals of one stream at one stage against one reference (None: the source itself)."""

    stage: str
    against: str | None
    stream: str
    counts: Mapping[str, int]  # COUNTS; of the source itself only `observed` means anything
    verdicts: frozenset[Verdict]  # of its windows

    @property
    def due(self) -> int:
        """Records that the contract lets through."""
        return self.counts["expected"] - self.counts["filtered"]

    @property
    def completeness(self) -> float | None:
        """delivered / (expected - filtered); None if nothing was due, and at the source."""
        return self.counts["delivered"] / self.due if self.due and self.against else None

    @property
    def nines_low(self) -> float | None:
        """The lower bound of the nines; None if nothing was due, and at the source."""
        return nines(self.due - self.counts["delivered"], self.due).low if self.against else None

    @property
    def verdict(self) -> Verdict:
        """The worst of its windows."""
        return worst_verdict(self.verdicts)

    @property
    def differing(self) -> int:
        """Records that are not as they should be, or were not seen."""
        return sum(self.counts[name] for name in ("lost", "duplicates", "unexpected", "unaudited"))


def by_stream(report: Report) -> list[StreamBooks]:
    """One for each stage, reference and stream, in the order of the report."""
    keys = ["stage", "against", "stream"]
    table = report.balances.select([*keys, *COUNTS, "verdict"])
    sums = table.group_by(keys, use_threads=False).aggregate(
        [(name, "sum") for name in COUNTS] + [("verdict", "distinct")]
    )
    return [
        StreamBooks(
            row["stage"],
            row["against"],
            row["stream"],
            {name: row[f"{name}_sum"] or 0 for name in COUNTS},
            frozenset(row["verdict_distinct"]),
        )
        for row in sums.to_pylist()
    ]


def limited(books: Collection[StreamBooks], most: int) -> tuple[list[StreamBooks], set[str]]:
    """The books of at most so many streams, the others added up as OTHER; and who the others are.

    The same streams stay at every stage: those that fail, then those that differ most, then the
    largest. Nothing is left out of any sum. Streams are called as `named` says.
    """
    rank: dict[str, tuple[int, int, int]] = {}
    for each in books:
        mine = (_BADNESS[each.verdict], each.differing, each.counts["observed"])
        rank[each.stream] = max(rank.get(each.stream, mine), mine)
    others = set(sorted(rank, key=lambda name: (*(-part for part in rank[name]), name))[most:])
    kept = [replace(each, stream=named(each.stream)) for each in books if each.stream not in others]
    merged: dict[tuple[str, str | None], StreamBooks] = {}
    for each in books:
        if each.stream in others:
            key = (each.stage, each.against)
            merged[key] = _added(merged[key], each) if key in merged else each
    return kept + [replace(each, stream=OTHER) for each in merged.values()], others


_BADNESS: Mapping[Verdict, int] = {"fail": 3, "unknown": 2, "pending": 1, "pass": 0}


def _added(one: StreamBooks, other: StreamBooks) -> StreamBooks:
    counts = {name: one.counts[name] + other.counts[name] for name in COUNTS}
    return replace(one, counts=counts, verdicts=one.verdicts | other.verdicts)


def named(name: str) -> str:
    """A stream's or origin's own name, so that none is taken for OTHER: `_other` is `__other`."""
    return f"_{name}" if name.lstrip("_") == "other" and name.startswith("_") else name


Origin = tuple[str, str, str, str, str]
"""Stage, reference, stream, origin and kind of difference."""


def by_origin(table: pa.Table) -> dict[Origin, int]:
    """How many copies differ, from the differences of a report."""
    keys = ["stage", "against", "stream", "origin", "kind"]
    sums = table.select([*keys, "copies"]).group_by(keys, use_threads=False)
    columns = sums.aggregate([("copies", "sum")]).to_pydict()
    names = zip(*(columns[key] for key in keys), strict=True)
    return dict(zip(names, columns["copies_sum"], strict=True))


def limited_origins(
    copies: Mapping[Origin, int], most: int, other_streams: Collection[str]
) -> tuple[dict[Origin, int], int]:
    """The copies of at most so many (stream, origin), the others' under OTHER; and how many others.

    Those stay that differ most. Streams and origins are called as `named` says.
    """
    rank: Counter[tuple[str, str]] = Counter()
    for (_, _, stream, origin, _), number in copies.items():
        rank[stream, origin] += number
    wanted = [pair for pair in rank if pair[0] not in other_streams]
    kept = set(sorted(wanted, key=lambda pair: (-rank[pair], pair))[:most])
    found: Counter[Origin] = Counter()
    for (stage, against, stream, origin, kind), number in copies.items():
        called = OTHER if stream in other_streams else named(stream)
        shown = named(origin) if (stream, origin) in kept else OTHER
        found[stage, against, called, shown, kind] += number
    return dict(found), len(rank) - len(kept)
