"""Silence: what the source itself lacks. Nothing downstream can miss what was never written down.

A producer that stops where its own rate makes that a surprise is a finding, and makes the windows
of its silence unknown, unless it counts as retired (`retire_after`). Holes in its sequence numbers
are a finding too: the source lacks records.
"""

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from fidelity.config import Pipeline
from fidelity.questions import ask
from fidelity.reconcile.coverage import View

SURPRISE = 14.0
"""Records that would have come: of a Poisson process none comes with probability e^-14 < 1e-6."""

_MOST_WINDOWS = 1_000
_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Silence:
    """A stretch of windows without a record of a producer, a stream, or at all. Microseconds."""

    level: str  # producer, stream, source
    stream: str | None  # None: all
    origin: str | None  # None: all
    since: int  # start of the first silent window
    until: int  # end of the last one
    last_seen: int  # event time of the last record before it
    rate: float  # records a window until then
    ended: bool  # records came again
    strong: bool
    retired: bool  # longer than producers are waited for


@dataclass(frozen=True, slots=True)
class Hole:
    """Sequence numbers that a producer passed over in a window of the source."""

    stream: str
    origin: str
    window: int
    absent: int


def absences(
    connection: duckdb.DuckDBPyConnection, pipeline: Pipeline, view: View, horizon: int, as_of: int
) -> tuple[list[Silence], list[Hole]]:
    """What the source lacks, where it was seen: silence (strong stretches, and weak ones that
    last), and sequence numbers passed over up to the last settled window."""
    source, window = pipeline.source.name, pipeline.window
    latest = horizon + 2 * window + pipeline.settle + _DAY
    of = {"source": source, "window": window, "latest": latest}
    # Most hours everything goes on; the questions below take longer than all others.
    ((paused, uneven),) = ask(connection, "reconcile_steady", **of).fetchall()
    quiet, holes = [], []
    if paused:
        asked = ask(connection, "reconcile_gaps", **of, horizon=horizon, surprise=SURPRISE)
        found = [_silence(pipeline, view, as_of, row) for row in asked.fetchall()]
        quiet = _said_once([each for each in found if each is not None])
    if uneven:
        asked = ask(connection, "reconcile_holes", **of, horizon=horizon)
        holes = [Hole(*row) for row in asked.fetchall()]
    return quiet, holes


def _silence(pipeline: Pipeline, view: View, as_of: int, row: tuple[Any, ...]) -> Silence | None:
    level, stream, origin, since, last, seen, rate, trailing, strong = row
    starts = np.arange(since, last + 1, pipeline.window, dtype=np.int64)
    known = view.audited(starts, pipeline.window, pipeline.settle)
    known &= ~view.touched(starts, pipeline.window)
    if not known.any():
        return None
    strong = strong and rate * int(known.sum()) >= SURPRISE
    if not strong and not trailing:
        return None
    until = last + pipeline.window
    waited = (as_of if trailing else until) - seen
    retired = pipeline.retire_after is not None and waited > pipeline.retire_after
    if retired and level != "producer":
        return None  # so are all its producers
    strong = strong and not retired
    return Silence(level, stream, origin, since, until, seen, rate, not trailing, strong, retired)


def _said_once(found: list[Silence]) -> list[Silence]:
    """Without streams whose producers, and sources whose streams, say it already."""
    finer = {"producer": 0, "stream": 1, "source": 2}
    kept: list[Silence] = []
    for each in sorted(found, key=lambda each: finer[each.level]):
        told = any(
            one.strong and each.since >= one.since and each.until <= one.until
            for one in kept
            if each.stream in (None, one.stream)
        )
        if each.level == "producer" or not told:
            kept.append(each)
    return kept


def silent_windows(silence: Silence, window: int) -> list[int]:
    """Starts of its windows; of a very long one the first, which stop the watermark."""
    return list(range(silence.since, silence.until, window)[:_MOST_WINDOWS])
