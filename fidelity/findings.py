"""Findings: what a person should know, what it rests on, and what to do about it.

One finding for each kind and stage (and origin, where it is about one), never one for each window.
A loss seen end to end is told once, at the stage where it happened: against the stage before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fidelity import coverage
from fidelity.config import Pipeline
from fidelity.coverage import View
from fidelity.edges import Edge
from fidelity.report import Books, Finding, Severity, iso
from fidelity.resolve import Scope
from fidelity.silence import Hole, Silence
from fidelity.units import LedgerRow

_MOST_NAMED = (
    20  # origins, streams, units and positions that a finding names; it tells how many more
)
_BLOCK = 1 << 20  # the largest block of sequence numbers that a crashed stamper may leave unused


@dataclass(frozen=True, slots=True)
class Context:
    """All that findings are drawn from."""

    pipeline: Pipeline
    edges: Sequence[Edge]
    views: dict[str, View]
    totals: Sequence[Books]
    differences: pa.Table
    silences: Sequence[Silence]
    holes: Sequence[Hole]
    doubts: Sequence[tuple[Scope, str]]
    horizon: int  # start of the last settled window


def all_findings(context: Context) -> list[Finding]:
    """Every finding, errors first, then in the order of the stages."""
    found = [finding for draw in _KINDS for finding in draw(context)]
    order = {"error": 0, "warning": 1, "info": 2}
    stages = {stage.name: at for at, stage in enumerate(context.pipeline.stages)}
    return sorted(found, key=lambda each: (order[each.severity], stages.get(each.stage, -1)))


def judged(context: Context, total: Books) -> Books:
    """A total with what has no window: flaws beyond the target, and unseen records of no row."""
    target = context.pipeline.targets.flaws
    view = context.views[total.stage]
    flawed, records = sum(total.flaws.values()), coverage.summary(view).records
    if target is not None and flawed and flawed / records > target:
        return replace(total, verdict="fail", reasons=(*total.reasons, "flaws"))
    settled_end = context.horizon + context.pipeline.window
    blind = [row for row in view.unseen if row.unseen_from == -1 or row.unseen_from < settled_end]
    if blind and total.verdict in ("pass", "pending"):
        return replace(total, verdict="unknown", reasons=(*total.reasons, "unseen"))
    return total


def _differing(context: Context) -> list[Finding]:
    """Lost, duplicate and unexpected records at the hop where they came about."""
    found = []
    told: dict[tuple[str, str], int] = {}
    for edge in sorted(context.edges, key=lambda edge: not edge.hop):
        total = _total(context, edge)
        for kind, plural in _PLURALS.items():
            count = getattr(total, plural)
            if count == 0:
                continue
            if not edge.hop and count <= _told_on_the_way(context, told, edge.stage, kind):
                continue
            told[edge.stage, kind] = count
            rows = _rows(context, edge, kind)
            if len(rows):
                found.append(_difference(edge, kind, rows))
    return found


_PLURALS = {"lost": "lost", "duplicate": "duplicates", "unexpected": "unexpected"}
_SAID = {
    "lost": "{n} lost between {reference} and {stage}",
    "duplicate": "{n} more often at {stage} than at {reference}",
    "unexpected": "{n} at {stage} that {reference} does not have",
}
_ADVICE = {
    "lost": "Look at what carried them from {reference} to {stage} at that time; the differences list names each record, so that it can be read again from {reference}.",
    "duplicate": "Look for a restart or a retry that sent them to {stage} again; drop the copies by their ids.",
    "unexpected": "Check that {reference} is complete, and that nothing else writes to {stage}; a changed time, stream or origin on the way makes a record unexpected too.",
}


def _told_on_the_way(
    context: Context, told: dict[tuple[str, str], int], stage: str, kind: str
) -> int:
    """Records of a kind that hops up to a stage have told of."""
    by_name = {each.name: each for each in context.pipeline.stages}
    total, name = 0, stage
    while by_name[name].after is not None:
        total += told.get((name, kind), 0)
        name = str(by_name[name].after)
    return total


def _rows(context: Context, edge: Edge, kind: str) -> pa.Table:
    table = context.differences
    mask = pc.and_(
        pc.equal(table.column("stage"), edge.stage),
        pc.and_(
            pc.equal(table.column("against"), edge.labels[-1]),
            pc.equal(table.column("kind"), kind),
        ),
    )
    return table.filter(mask)


def _difference(edge: Edge, kind: str, rows: pa.Table) -> Finding:
    copies = int(pc.sum(rows.column("copies")).as_py())
    windows = pc.unique(rows.column("window").cast(pa.int64())).to_numpy()
    origins, streams = _counts(rows, "origin"), _counts(rows, "stream")
    runs, longest = _runs(rows)
    names = {"reference": edge.reference, "stage": edge.stage}
    one = "1 record is" if copies == 1 else f"{copies:,} records are"
    where = _several(len(windows), "window", iso(int(windows.min())))
    who = _several(len(origins), "producer", next(iter(origins)))
    shape = "" if runs is None else f", {_several(runs, 'run', '')} of at most {longest:,}"
    return Finding(
        kind="duplicates" if kind == "duplicate" else kind,
        severity="error",
        stage=edge.stage,
        message=f"{_SAID[kind].format(n=one, **names)}: {where}, {who}{shape}.",
        evidence={
            "against": edge.reference,
            "records": copies,
            "ids": len(rows),
            "windows": len(windows),
            "first_window": iso(int(windows.min())),
            "last_window": iso(int(windows.max())),
            "streams": _named(streams),
            "origins": _named(origins),
            "runs": runs,
            "longest_run": longest,
        },
        action=_ADVICE[kind].format(**names),
    )


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


def _silent(context: Context) -> list[Finding]:
    """Producers that stopped: one finding an origin, streams together."""
    grouped: dict[tuple[str, str | None, bool], list[Silence]] = {}
    for each in context.silences:
        grouped.setdefault((each.level, each.origin, each.strong), []).append(each)
    return [_silence(context, each) for each in grouped.values()]


def _silence(context: Context, group: Sequence[Silence]) -> Finding:
    first, window = group[0], context.pipeline.window
    since, until = min(each.since for each in group), max(each.until for each in group)
    last = max(each.last_seen for each in group)
    streams = sorted({each.stream for each in group if each.stream is not None})
    who = {
        "producer": f"{first.origin} ({', '.join(streams[:3])}{', ...' if len(streams) > 3 else ''})",
        "stream": f"The whole stream {', '.join(streams)}",
        "source": "The whole source",
    }[first.level]
    ended = all(each.ended for each in group)
    how = "was silent" if ended else "has been silent"
    note = "" if first.strong else " It was never busy enough for this to be a surprise."
    return Finding(
        kind="silent",
        severity="warning" if first.strong else "info",
        stage=context.pipeline.source.name,
        message=f"{who} {how} since {iso(last)}.{note}",
        evidence={
            "level": first.level,
            "origin": first.origin,
            "streams": streams,
            "last_seen": iso(last),
            "silent_from": iso(since),
            "silent_to": iso(until),
            "windows": (until - since) // window,
            "records_a_window_before": round(sum(each.rate for each in group), 3),
            "ended": ended,
        },
        action="Check that it runs and that its records reach the source; if it was retired, nothing is missing.",
    )


def _source_gaps(context: Context) -> list[Finding]:
    """Holes in the sequence numbers at the source: one finding an origin."""
    source = context.pipeline.source
    if source.record.opaque or context.views[source.name].unseen:
        return []
    by_origin: dict[str, list[Hole]] = {}
    for hole in context.holes:
        by_origin.setdefault(hole.origin, []).append(hole)
    flawed = sum(coverage.flaws(context.views[source.name]).values())
    found = []
    for origin, group in by_origin.items():
        absent = sum(hole.absent for hole in group)
        crash = len(group) == 1 and absent <= _BLOCK
        severity: Severity = "info" if crash or absent <= flawed else "warning"
        windows = sorted(hole.window for hole in group)
        numbers = "1 sequence number" if absent == 1 else f"{absent:,} sequence numbers"
        message = f"{origin} skipped {numbers}: {source.name} itself may lack these records."
        if crash:
            message += " A stamper that crashed skips the rest of its block, and loses nothing."
        found.append(
            Finding(
                "source-gap",
                severity,
                source.name,
                message,
                {
                    "origin": origin,
                    "streams": sorted({hole.stream for hole in group}),
                    "records": absent,
                    "windows": len(set(windows)),
                    "first_window": iso(windows[0]),
                    "last_window": iso(windows[-1]),
                    "flawed_at_source": flawed,
                },
                "Compare with the producer's log or manifest; records may be lost before the source.",
            )
        )
    return found


_UNREAD = {
    "unreadable": (
        "could not be read",
        "Repair or restore them, then scan again: they are tried anew.",
    ),
    "trimmed": (
        "were trimmed by retention before they were scanned",
        "Scan more often than retention trims, or lengthen retention.",
    ),
    "truncated": (
        "were truncated, and unread bytes may have gone with them",
        "Scan before rotation truncates (copytruncate), or rotate by renaming.",
    ),
}


def _unread(context: Context) -> list[Finding]:
    """Units that nobody could read, by stage and status."""
    found = []
    for name, view in context.views.items():
        for status, (said, action) in _UNREAD.items():
            rows = [row for row in view.unseen if row.status == status]
            if rows:
                units = _several(len(rows), "unit", rows[0].unit.path)
                reasons = sorted({row.reason for row in rows if row.reason})
                why = f": {reasons[0]}" if len(reasons) == 1 else ""
                found.append(
                    Finding(
                        status,
                        "error",
                        name,
                        f"{units} of {name} {said}{why}. What they may hold is unknown.",
                        _units(rows) | {"reasons": reasons[:_MOST_NAMED]},
                        action,
                    )
                )
    return found


def _vanished(context: Context) -> list[Finding]:
    found = []
    for name, view in context.views.items():
        rows = [row for row in view.rows if row.status == "vanished"]
        if rows:
            found.append(
                Finding(
                    "vanished",
                    "info",
                    name,
                    f"{_several(len(rows), 'unit', rows[0].unit.path)} of {name} left its books: "
                    "they were removed or replaced.",
                    _units(rows),
                    "Nothing, if compaction replaced them; if they were deleted, what they held "
                    "counts as lost.",
                )
            )
    return found


def _flawed(context: Context) -> list[Finding]:
    """Records that could not take part in the books, by stage and kind."""
    found = []
    for stage in context.pipeline.stages:
        before = {} if stage.after is None else coverage.flaws(context.views[stage.after])
        for kind, count in coverage.flaws(context.views[stage.name]).items():
            rises = count > before.get(kind, 0)
            more = f", {count - before.get(kind, 0):,} more than at {stage.after}" if before else ""
            records = "1 record is" if count == 1 else f"{count:,} records are"
            found.append(
                Finding(
                    "flaws",
                    "warning" if rises else "info",
                    stage.name,
                    f"{records} {kind} at {stage.name}{more if rises else ''}.",
                    {
                        "flaw": kind,
                        "records": count,
                        "before": before.get(kind) if stage.after else None,
                        "positions": _positions(context.views[stage.name], kind),
                    },
                    _FLAW_ADVICE[kind],
                )
            )
    return found


_FLAW_ADVICE = {
    "malformed": "Look at the positions given: a broken line counts for nothing until it is mended.",
    "unstamped": "Stamp these records, or tell where their id is (record.id).",
    "untimed": "Check record.time: these records have no time that could be read.",
    "unattributed": "Check record.stream and record.origin: these records have none.",
    "future": "Check the clocks: these records are more than a day ahead of their arrival.",
}


def _unaudited(context: Context) -> list[Finding]:
    """Stages that were not looked at since windows settled there."""
    found = []
    window, settle = context.pipeline.window, context.pipeline.settle
    last = max(
        (row.tally.last_event for view in context.views.values() for row in view.rows), default=-1
    )
    if last == -1:
        return []
    newest = np.array([min(context.horizon, last // window * window)], np.int64)
    for name, view in context.views.items():
        if not view.audited(newest, window, settle)[0]:
            when = (
                "never looked at"
                if view.looked_at == -1
                else f"last looked at {iso(view.looked_at)}"
            )
            found.append(
                Finding(
                    "unaudited",
                    "warning",
                    name,
                    f"{name} was {when}: windows that settled since are unknown there.",
                    {
                        "looked_at": None if view.looked_at == -1 else iso(view.looked_at),
                        "newest_settled_window": iso(int(newest[0])),
                    },
                    f"Scan {name} again.",
                )
            )
    return found


def _lower_bounds(context: Context) -> list[Finding]:
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
                    f"{_several(len(doubts), 'scope', '')} of {edge.stage} against {edge.reference} "
                    f"could only be counted: {reasons[0]}. At least as many records differ.",
                    {
                        "against": edge.reference,
                        "scopes": len(doubts),
                        "first_window": iso(min(scope.window for scope, _ in doubts)),
                        "last_window": iso(max(scope.window for scope, _ in doubts)),
                        "reasons": reasons[:_MOST_NAMED],
                    },
                    "Scan and audit again while the records of both stages can still be read.",
                )
            )
    return found


def _unproven(context: Context) -> list[Finding]:
    """Targets that so few records cannot prove."""
    target = context.pipeline.targets.completeness
    return [
        Finding(
            "unproven",
            "info",
            total.stage,
            f"{total.expected or 0:,} records are too few to prove the target of {target:.12g} at "
            f"{total.stage} against {total.against}.",
            {"against": total.against, "records": total.expected, "needed": _needed(target)},
            "Judge it over a longer time.",
        )
        for total in context.totals
        if target < 1 and total.against is not None and total.expected and not total.measurable
    ]


def _needed(target: float) -> int:
    return int(np.ceil(3 / (1 - target) * (1 - 1e-9)))


_KINDS: tuple[Callable[[Context], list[Finding]], ...] = (
    _differing,
    _unread,
    _silent,
    _lower_bounds,
    _unaudited,
    _source_gaps,
    _flawed,
    _vanished,
    _unproven,
)


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
    named = dict(list(counts.items())[:_MOST_NAMED])
    rest = sum(counts.values()) - sum(named.values())
    return named | ({f"and {len(counts) - len(named)} more": rest} if rest else {})


def _several(count: int, what: str, name: str) -> str:
    if count == 1:
        return f"1 {what} ({name})" if name else f"1 {what}"
    return f"{count:,} {what}s"


def _units(rows: Sequence[LedgerRow]) -> dict[str, Any]:
    return {
        "units": len(rows),
        "paths": sorted({row.unit.path for row in rows})[:_MOST_NAMED],
        "from": None
        if any(row.unseen_from == -1 for row in rows)
        else iso(min(row.unseen_from for row in rows)),
        "to": None
        if any(row.unseen_to == -1 for row in rows)
        else iso(max(row.unseen_to for row in rows)),
    }


def _positions(view: View, kind: str) -> list[dict[str, Any]]:
    """Where the first flawed records are."""
    found = [
        {"path": row.unit.path, "partition": row.unit.partition, "offset": position}
        for row in view.rows
        if row.status == "read"
        for flaw in row.tally.flaws
        if flaw.kind == kind
        for position in flaw.positions
    ]
    return found[:_MOST_NAMED]
