"""What was not seen or could not be used: unread units, flawed records, stages not looked at."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fidelity.config import Stage
from fidelity.reconcile import coverage
from fidelity.reconcile.coverage import View
from fidelity.reconcile.findings.context import MOST_NAMED, Context, several
from fidelity.report import Finding, iso
from fidelity.units import LOOKED, LedgerRow

_UNREAD = {
    "unreadable": (
        "could not be read",
        "could not be read",
        "Repair or restore it, then scan again: what could not be read is tried anew.",
    ),
    "trimmed": (
        "was trimmed by retention before it was scanned",
        "were trimmed by retention before they were scanned",
        "Scan more often than retention trims, or lengthen retention.",
    ),
    "truncated": (
        "was truncated, and unread bytes may have gone with it",
        "were truncated, and unread bytes may have gone with them",
        "Scan before rotation truncates (copytruncate), or rotate by renaming.",
    ),
}


def unread(context: Context) -> list[Finding]:
    """Units that nobody could read, by stage and status; stages that nobody could look at."""
    found = []
    for name, view in context.views.items():
        for status in _UNREAD:
            rows = [row for row in view.unseen if row.status == status and row.unit.key != LOOKED]
            if rows:
                found.append(_unread(name, status, rows))
        if view.failed is not None:
            found.append(_failed(name, view.failed))
    return found


def _unread(stage: str, status: str, rows: Sequence[LedgerRow]) -> Finding:
    one, many, action = _UNREAD[status]
    reasons = sorted({row.reason for row in rows if row.reason})
    more = f" ({len(reasons) - 1:,} more reasons are in the report.)" if len(reasons) > 1 else ""
    why = f": {_sentence(reasons[0])}{more}" if reasons else "."
    who = _places(stage, rows, "".join(reasons[:1]))
    alone = len(_paths(rows)) == 1
    return Finding(
        kind=status,
        severity="error",
        stage=stage,
        message=f"{who} {one if alone else many}{why}"
        f" What {'it' if alone else 'they'} may hold is unknown.",
        evidence=_units(rows) | {"reasons": reasons[:MOST_NAMED]},
        action=action,
    )


def _sentence(reason: str) -> str:
    """A reason told of a file, which often is what the file does."""
    subject = "it " if reason.partition(" ")[0] in ("is", "was", "ends", "could") else ""
    return f"{subject}{reason}" + ("" if reason.endswith((".", "!", "?")) else ".")


def _paths(rows: Sequence[LedgerRow]) -> list[str]:
    """Files, and partitions of topics."""
    return sorted({_place(row) for row in rows})


def _place(row: LedgerRow) -> str:
    return f"{row.unit.path}/{row.unit.partition}" if row.unit.kind == "kafka" else row.unit.path


def _places(stage: str, rows: Sequence[LedgerRow], said: str = "") -> str:
    """'1 file of lake (path)', '3 partitions of queue'; no path that is `said` anyway."""
    paths = _paths(rows)
    noun = "partition" if rows[0].unit.kind == "kafka" else "file"
    if len(paths) > 1:
        return f"{len(paths):,} {noun}s of {stage}"
    return f"1 {noun} of {stage}" + ("" if paths[0] in said else f" ({paths[0]})")


def waiting(context: Context) -> list[Finding]:
    """Files that end in the beginning of a line."""
    found = []
    for name, view in context.views.items():
        rows = [row for row in view.unseen if row.status == "read" and not row.tally.records]
        if rows:
            each = "ends" if len(_paths(rows)) == 1 else "end"
            matters = any(row.unseen_from <= context.horizon for row in rows)
            found.append(
                Finding(
                    kind="waiting",
                    severity="warning" if matters else "info",
                    stage=name,
                    message=f"{_places(name, rows)} {each} in a line without a newline: it may be "
                    "half a line yet, so it was not read.",
                    evidence=_units(rows),
                    action="Scan again once it has its newline, or the file was still for the time "
                    "to settle.",
                )
            )
    return found


def empty(context: Context) -> list[Finding]:
    """Stages that were looked at, and hold nothing at all."""
    filled = {total.stage for total in context.totals if total.observed or total.flaws}
    return [
        _empty(stage)
        for stage in context.pipeline.stages
        if stage.name not in filled
        and (view := context.views[stage.name]).looked_at != -1
        and view.failed is None
        and not view.unseen
    ]


def _empty(stage: Stage) -> Finding:
    where = stage.paths or stage.topics
    return Finding(
        kind="empty",
        severity="warning",
        stage=stage.name,
        message=f"{stage.name} was looked at, and no record is there: {', '.join(where[:3])}"
        f"{', ...' if len(where) > 3 else '.'}",
        evidence={"looked_for": list(where[:MOST_NAMED])},
        action=f"Check that `{'path' if stage.paths else 'topic'}` says where its records are.",
    )


def _failed(stage: str, row: LedgerRow) -> Finding:
    return Finding(
        kind="unreadable",
        severity="error",
        stage=stage,
        message=f"{stage} could not be looked at: {row.reason or 'no reason was given'}",
        evidence={"tried_at": iso(row.scanned_at), "reasons": [row.reason]},
        action="Mend that and scan again: until then all that came since is unknown.",
    )


def vanished(context: Context) -> list[Finding]:
    """Units that left the books, by stage."""
    found = []
    for name, view in context.views.items():
        rows = [row for row in view.rows if row.status == "vanished"]
        if rows:
            found.append(
                Finding(
                    kind="vanished",
                    severity="info",
                    stage=name,
                    message=f"{_places(name, rows)} left the books: removed, or replaced.",
                    evidence=_units(rows),
                    action="Nothing, if compaction replaced them. If they were deleted, what they "
                    "held counts as lost.",
                )
            )
    return found


def flawed(context: Context) -> list[Finding]:
    """Records that could not take part in the books, by stage and kind."""
    found = []
    for stage in context.pipeline.stages:
        before = {} if stage.after is None else coverage.flaws(context.views[stage.after])
        for kind, count in coverage.flaws(context.views[stage.name]).items():
            found.append(_flaw(context, stage, kind, count, before.get(kind, 0)))
    return found


def _flaw(context: Context, stage: Stage, kind: str, count: int, before: int) -> Finding:
    if stage.kind == "manifests" and kind != "future":
        return _claims(context, stage, kind, count)
    records = "1 record is" if count == 1 else f"{count:,} records are"
    rises = count > before
    more = f", {count - before:,} more than at {stage.after}" if rises and stage.after else ""
    return Finding(
        kind="flaws",
        severity="warning" if rises else "info",
        stage=stage.name,
        message=f"{records} {kind} at {stage.name}{more}.",
        evidence={
            "flaw": kind,
            "records": count,
            "before": before if stage.after else None,
            "positions": _positions(context.views[stage.name], kind),
        },
        action=_FLAW_ADVICE[kind],
    )


def _claims(context: Context, stage: Stage, kind: str, count: int) -> Finding:
    lines = "1 manifest line is" if count == 1 else f"{count:,} manifest lines are"
    return Finding(
        kind="flaws",
        severity="error",
        stage=stage.name,
        message=f"{lines} {kind} at {stage.name}: what was produced besides is unknown.",
        evidence={
            "flaw": kind,
            "records": count,
            "before": None,
            "positions": _positions(context.views[stage.name], kind),
        },
        action="Mend the lines at the positions given, and scan into a new `store:`.",
    )


_FLAW_ADVICE = {
    "malformed": "Look at the positions given: a broken line counts for nothing.",
    "unstamped": "Stamp these records, or tell where their id is (record.id).",
    "untimed": "Check record.time: these records have no time that could be read.",
    "unattributed": "Check record.stream and record.origin: these records have none.",
    "future": "Check the clocks: these records are more than a day ahead of their arrival.",
}


def unaudited(context: Context) -> list[Finding]:
    """Stages that were not looked at since windows settled there, or others grew."""
    if context.newest is None:
        return []
    overtaken = [_overtaken(*each) for each in context.overtaken]
    newest = np.array([context.newest], np.int64)
    late = [
        (name, view.looked_at)
        for name, view in context.views.items()
        if not view.audited(newest, context.pipeline.window, context.pipeline.settle)[0]
    ]
    return [_unaudited(name, looked_at, context.newest) for name, looked_at in late] + overtaken


def _unaudited(stage: str, looked_at: int, newest: int) -> Finding:
    when = "never looked at" if looked_at == -1 else f"last looked at {iso(looked_at)}"
    return Finding(
        kind="unaudited",
        severity="warning",
        stage=stage,
        message=f"{stage} was {when}: windows that settled since are unknown there.",
        evidence={
            "looked_at": None if looked_at == -1 else iso(looked_at),
            "newest_settled_window": iso(newest),
        },
        action=f"Scan {stage} again.",
    )


def _overtaken(stage: str, since: str, windows: NDArray[np.int64]) -> Finding:
    first, last = int(windows.min()), int(windows.max())
    where = several(len(windows), "window", iso(first))
    return Finding(
        kind="unaudited",
        severity="warning",
        stage=stage,
        message=f"More was read of {since} after {stage} was last looked at: where the two differ "
        f"({where}) is unknown.",
        evidence={
            "read_since": since,
            "windows": len(windows),
            "first_window": iso(first),
            "last_window": iso(last),
        },
        action=f"Scan {stage} again.",
    )


def _units(rows: Sequence[LedgerRow]) -> dict[str, Any]:
    return {
        "units": len(rows),
        "paths": sorted({row.unit.path for row in rows})[:MOST_NAMED],
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
    return found[:MOST_NAMED]
