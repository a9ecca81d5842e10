"""Records that are lost, doubled or unexpected, told once: at the hop where it came about."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fidelity.edges import Edge
from fidelity.reconcile.findings.context import MOST_NAMED, Context, Established, several
from fidelity.report import Books, Finding, Kind, iso
from fidelity.report.judging import needed


def differing(context: Context) -> list[Finding]:
    """Lost, duplicate and unexpected records at the hop where they came about."""
    found = []
    told: dict[tuple[str, Kind], int] = {}
    for edge in sorted(context.edges, key=lambda edge: not edge.hop):
        for kind in _SAID:
            shown = context.established.get((edge, kind))
            if shown is None:
                continue
            if edge.hop:
                told[edge.stage, kind] = shown.records
            elif shown.records <= _told_on_the_way(context, told, edge.stage, kind):
                continue
            found.append(_difference(context, edge, kind, shown))
    return found


_SAID: dict[Kind, str] = {
    "lost": "{n} lost between {reference} and {stage}",
    "duplicate": "{n} more often at {stage} than at {reference}",
    "unexpected": "{n} at {stage} that {reference} does not have",
}
ADVICE: dict[Kind, str] = {
    "lost": "Look at what carried them from {reference} to {stage} at that time. The differences "
    "name each record, so that it can be read again from {reference}.",
    "duplicate": "Look for a restart or a retry that sent them to {stage} again, and drop the "
    "copies by their ids.",
    "unexpected": "Check that {reference} is complete and that nothing else writes to {stage}. A "
    "record whose time, stream or origin changed on the way is unexpected too.",
}


def _told_on_the_way(
    context: Context, told: dict[tuple[str, Kind], int], stage: str, kind: Kind
) -> int:
    """Records of a kind that hops up to a stage have told of."""
    by_name = {each.name: each for each in context.pipeline.stages}
    total, name = 0, stage
    while by_name[name].after is not None:
        total += told.get((name, kind), 0)
        name = str(by_name[name].after)
    return total


def _rows(context: Context, edge: Edge, kind: Kind) -> pa.Table:
    table = context.differences
    mask = pc.and_(
        pc.equal(table.column("stage"), edge.stage),
        pc.and_(
            pc.equal(table.column("against"), edge.labels[-1]),
            pc.equal(table.column("kind"), kind),
        ),
    )
    return table.filter(mask)


def _difference(context: Context, edge: Edge, kind: Kind, shown: Established) -> Finding:
    """An error where a window misses its targets; a warning where all stay within them."""
    rows = _rows(context, edge, kind)
    reason = "duplicates" if kind == "duplicate" else kind
    origins = _counts(rows, "origin")
    runs, longest = _runs(rows) if len(rows) else (None, None)
    named = int(pc.sum(rows.column("copies")).as_py() or 0)
    names = {"reference": edge.reference, "stage": edge.stage}
    first, last = iso(int(shown.windows.min())), iso(int(shown.windows.max()))
    parts = [several(len(shown.windows), "window", first)]
    parts += [several(len(origins), "producer", next(iter(origins)))] if origins else []
    parts += [_shape(len(rows), runs, longest)] if named == shown.records else []
    one = _are(shown.records)
    said = _SAID[kind].format(n=one if named == shown.records else f"At least {one}", **names)
    return Finding(
        kind=reason,
        severity="error" if reason in _total(context, edge).reasons else "warning",
        stage=edge.stage,
        message=f"{said}: {', '.join(part for part in parts if part)}.",
        evidence={
            "against": edge.reference,
            "records": shown.records,
            "ids": len(rows),
            "windows": len(shown.windows),
            "first_window": first,
            "last_window": last,
            "streams": _named(_counts(rows, "stream")),
            "origins": _named(origins),
            "runs": runs,
            "longest_run": longest,
        },
        action=ADVICE[kind].format(**names),
    )


def _shape(ids: int, runs: int | None, longest: int | None) -> str:
    """How the sequence numbers lie: later work says more."""
    if runs is None or longest is None or ids == 1:
        return ""
    if longest == 1:
        return "no two in a row"
    if runs == 1:
        return f"one run of {longest:,}"
    return f"{runs:,} runs of up to {longest:,}"


def _runs(rows: pa.Table) -> tuple[int | None, int | None]:
    """How many runs of consecutive sequence numbers, and the longest. None of opaque ids.

    Rows are sorted by sequence within a producer and window; a run may cross windows.
    """
    if rows.column("sequence").null_count:
        return None, None
    table = rows.select(["stream", "origin", "sequence"]).sort_by(
        [("stream", "ascending"), ("origin", "ascending"), ("sequence", "ascending")]
    )
    sequence = table.column("sequence").to_numpy()
    broken = np.diff(sequence) != 1
    for name in ("stream", "origin"):
        codes = table.column(name).combine_chunks().dictionary_encode().indices
        broken |= np.diff(codes.to_numpy()) != 0
    ends = np.flatnonzero(np.append(broken, True))
    return len(ends), int(np.diff(ends, prepend=-1).max())


def lower_bounds(context: Context) -> list[Finding]:
    """Figures of settled windows that rest on counts alone."""
    found = []
    for edge in context.edges:
        doubts = [
            (scope, why)
            for scope, why in context.doubts
            if scope.edge is edge and scope.window <= context.horizon
        ]
        if doubts:
            reasons = sorted({why for _, why in doubts})
            found.append(
                Finding(
                    "lower-bound",
                    "warning",
                    edge.stage,
                    f"{several(len(doubts), 'scope', '')} of {edge.stage} against {edge.reference} "
                    f"could only be counted: {reasons[0]}. At least as many records differ.",
                    {
                        "against": edge.reference,
                        "scopes": len(doubts),
                        "first_window": iso(min(scope.window for scope, _ in doubts)),
                        "last_window": iso(max(scope.window for scope, _ in doubts)),
                        "reasons": reasons[:MOST_NAMED],
                    },
                    "Scan and audit again while the records of both stages can still be read.",
                )
            )
    return found


def unproven(context: Context) -> list[Finding]:
    """Targets that so few records cannot prove."""
    target = context.pipeline.targets.completeness
    return [
        Finding(
            "unproven",
            "info",
            total.stage,
            f"{_are(total.expected or 0)} too few to prove the target of {target:.12g} at "
            f"{total.stage} against {total.against}.",
            {"against": total.against, "records": total.expected, "needed": needed(target)},
            "Judge it over a longer time.",
        )
        for total in context.totals
        if target < 1 and total.against is not None and total.expected and not total.measurable
    ]


def _are(records: int) -> str:
    return "1 record is" if records == 1 else f"{records:,} records are"


def _total(context: Context, edge: Edge) -> Books:
    return next(
        total
        for total in context.totals
        if total.stage == edge.stage and total.against == edge.labels[-1]
    )


def _counts(rows: pa.Table, column: str) -> dict[str, int]:
    grouped = rows.group_by(column, use_threads=False).aggregate([("copies", "sum")])
    counted = zip(
        grouped.column(column).to_pylist(), grouped.column("copies_sum").to_pylist(), strict=True
    )
    return dict(sorted(counted, key=lambda each: (-each[1], each[0])))


def _named(counts: dict[str, int]) -> dict[str, int]:
    """The first of many; the rest as one."""
    named = dict(list(counts.items())[:MOST_NAMED])
    rest = sum(counts.values()) - sum(named.values())
    return named | ({f"and {len(counts) - len(named)} more": rest} if rest else {})
