"""What the source itself may lack: producers that fell silent, and holes in their numbers."""

from collections.abc import Sequence
from typing import Any

from fidelity.reconcile import coverage
from fidelity.reconcile.findings.context import MOST_NAMED, Context, several
from fidelity.reconcile.silence import Hole, Silence
from fidelity.report import Finding, Severity, iso

_BLOCK = 1 << 20  # the largest block of sequence numbers that a crashed stamper may leave unused


def silent(context: Context) -> list[Finding]:
    """Producers that stopped: one finding an origin, streams together; the unsurprising in one."""
    surprising: dict[tuple[str, str | None], list[Silence]] = {}
    for each in context.silences:
        if each.strong:
            surprising.setdefault((each.level, each.origin), []).append(each)
    found = [_surprising(context, group) for group in surprising.values()]
    retired = [each for each in context.silences if each.retired]
    quiet = [each for each in context.silences if not each.strong and not each.retired]
    found += [_retired(context, retired)] if retired else []
    return found + ([_quiet(context, quiet)] if quiet else [])


def _surprising(context: Context, group: Sequence[Silence]) -> Finding:
    last = max(each.last_seen for each in group)
    verb = "was" if all(each.ended for each in group) else "has been"
    return Finding(
        kind="silent",
        severity="warning",
        stage=context.pipeline.source.name,
        message=f"{_who(group)} {verb} silent since {iso(last)}: those windows are unknown.",
        evidence=_evidence(context, group) | {"level": group[0].level, "origin": group[0].origin},
        action="Check that it runs and that its records reach the source. If it was retired, "
        "nothing is missing.",
    )


def _who(group: Sequence[Silence]) -> str:
    streams = sorted({each.stream for each in group if each.stream is not None})
    named = ", ".join(streams[:3]) + (", ..." if len(streams) > 3 else "")
    if group[0].level == "producer":
        return f"{group[0].origin} ({named})"
    return f"The whole stream {named}" if group[0].level == "stream" else "The whole source"


def _quiet(context: Context, group: Sequence[Silence]) -> Finding:
    origins = sorted({each.origin for each in group if each.origin is not None})
    last = max(each.last_seen for each in group)
    return Finding(
        kind="silent",
        severity="info",
        stage=context.pipeline.source.name,
        message=f"{several(len(origins), 'producer', origins[0])} not seen since {iso(last)}: "
        "too few records until then for this to be a surprise.",
        evidence=_evidence(context, group) | {"level": "producer", "origins": origins[:MOST_NAMED]},
        action="Nothing, unless records of these producers are known to be due.",
    )


def _retired(context: Context, group: Sequence[Silence]) -> Finding:
    origins = sorted({each.origin for each in group if each.origin is not None})
    last = max(each.last_seen for each in group)
    verb = "was" if len(origins) == 1 else "were"
    return Finding(
        kind="silent",
        severity="info",
        stage=context.pipeline.source.name,
        message=f"{several(len(origins), 'producer', origins[0])} {verb} last seen {iso(last)} or "
        "before, longer ago than `retire_after`: taken to be retired.",
        evidence=_evidence(context, group)
        | {"level": "producer", "origins": origins[:MOST_NAMED], "retired": len(origins)},
        action="Nothing, if they were meant to end.",
    )


def _evidence(context: Context, group: Sequence[Silence]) -> dict[str, Any]:
    since, until = min(each.since for each in group), max(each.until for each in group)
    return {
        "streams": sorted({each.stream for each in group if each.stream is not None})[:MOST_NAMED],
        "last_seen": iso(max(each.last_seen for each in group)),
        "silent_from": iso(since),
        "silent_to": iso(until),
        "windows": (until - since) // context.pipeline.window,
        "records_a_window_before": round(sum(each.rate for each in group), 3),
        "ended": all(each.ended for each in group),
    }


def source_gaps(context: Context) -> list[Finding]:
    """Holes in the sequence numbers at the source: one finding an origin."""
    source = context.pipeline.source
    if source.record.opaque or context.views[source.name].unseen:
        return []
    by_origin: dict[str, list[Hole]] = {}
    for hole in context.holes:
        by_origin.setdefault(hole.origin, []).append(hole)
    return [_gap(context, origin, group) for origin, group in by_origin.items()]


def _gap(context: Context, origin: str, group: Sequence[Hole]) -> Finding:
    source = context.pipeline.source.name
    flawed = sum(coverage.flaws(context.views[source]).values())
    absent = sum(hole.absent for hole in group)
    crash = len(group) == 1 and absent <= _BLOCK
    severity: Severity = "info" if crash or absent <= flawed else "warning"
    numbers = "1 sequence number" if absent == 1 else f"{absent:,} sequence numbers"
    message = f"{origin} skipped {numbers}: {source} itself may lack these records."
    if absent <= flawed:
        message += f" Flawed records there may be among them ({flawed:,})."
    elif crash:
        message += " Or a stamper crashed: it skips the rest of its block, and loses nothing."
    windows = sorted(hole.window for hole in group)
    return Finding(
        kind="source-gap",
        severity=severity,
        stage=source,
        message=message,
        evidence={
            "origin": origin,
            "streams": sorted({hole.stream for hole in group}),
            "records": absent,
            "windows": len(set(windows)),
            "first_window": iso(windows[0]),
            "last_window": iso(windows[-1]),
            "flawed_at_source": flawed,
        },
        action="Compare with the producer's log or manifest: were they lost before the source?",
    )
