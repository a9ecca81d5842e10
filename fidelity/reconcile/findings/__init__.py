"""Findings: what a person should know, what it rests on, and what to do about it.

One finding for each kind and stage (and origin, where it is about one), never one for each window.
A loss seen end to end is told once, at the stage where it happened: against the stage before.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fidelity.reconcile import coverage
from fidelity.reconcile.findings import differing, source, unseen
from fidelity.reconcile.findings.context import Context, Established
from fidelity.report import Books, Finding, Verdict
from fidelity.report.judging import beyond

__all__ = ["Context", "Established", "all_findings", "judged"]

_KINDS: tuple[Callable[[Context], list[Finding]], ...] = (
    differing.differing,
    unseen.unread,
    unseen.empty,
    source.silent,
    differing.lower_bounds,
    unseen.unaudited,
    source.source_gaps,
    unseen.flawed,
    unseen.vanished,
    unseen.waiting,
    differing.unproven,
)


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
    if target is not None and beyond(np.array([flawed]), np.array([records]), np.array([target])):
        total = replace(total, verdict="fail", reasons=(*total.reasons, "flaws"))
    settled_end = context.horizon + context.pipeline.window
    blind = [row for row in view.unseen if row.unseen_from == -1 or row.unseen_from < settled_end]
    if not blind:
        return total
    # Told of a stage that fails as well: by other targets it might not.
    verdict: Verdict = "unknown" if total.verdict in ("pass", "pending") else total.verdict
    unseen = () if "unseen" in total.reasons else ("unseen",)
    return replace(total, verdict=verdict, reasons=(*total.reasons, *unseen))
