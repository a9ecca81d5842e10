"""What was not seen or could not be used: unread units, flawed records, stages not looked at."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fidelity import coverage
from fidelity.config import Stage
from fidelity.coverage import View
from fidelity.findings.context import MOST_NAMED, Context, several
from fidelity.report import Finding, iso
from fidelity.units import LOOKED, LedgerRow

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
    said, action = _UNREAD[status]
    reasons = sorted({row.reason for row in rows if row.reason})
    why = f": {reasons[0]}" if len(reasons) == 1 else ""
    units = several(len(rows), "unit", rows[0].unit.path)
    return Finding(
        kind=status,
        severity="error",
        stage=stage,
        message=f"{units} of {stage} {said}{why}. What they may hold is unknown.",
        evidence=_units(rows) | {"reasons": reasons[:MOST_NAMED]},
        action=action,
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
            units = several(len(rows), "unit", rows[0].unit.path)
            found.append(
                Finding(
                    kind="vanished",
                    severity="info",
                    stage=name,
                    message=f"{units} of {name} left its books: removed, or replaced.",
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


_FLAW_ADVICE = {
    "malformed": "Look at the positions given: a broken line counts for nothing.",
    "unstamped": "Stamp these records, or tell where their id is (record.id).",
    "untimed": "Check record.time: these records have no time that could be read.",
    "unattributed": "Check record.stream and record.origin: these records have none.",
    "future": "Check the clocks: these records are more than a day ahead of their arrival.",
}


def unaudited(context: Context) -> list[Finding]:
    """Stages that were not looked at since windows settled there."""
    if context.newest is None:
        return []
    newest = np.array([context.newest], np.int64)
    late = [
        (name, view.looked_at)
        for name, view in context.views.items()
        if not view.audited(newest, context.pipeline.window, context.pipeline.settle)[0]
    ]
    return [_unaudited(name, looked_at, context.newest) for name, looked_at in late]


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
