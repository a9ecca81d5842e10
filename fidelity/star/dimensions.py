"""The dimensions that only describe: stages, streams and windows. No figure depends on them.

Their files' names follow from what is in them, so writing one again changes nothing.
"""

import calendar
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from fidelity.config import Pipeline, mask
from fidelity.report import Report
from fidelity.star.place import Place
from fidelity.star.rows import WHOLE, day_of
from fidelity.star.schema import DIM_STAGE, DIM_STREAM, DIM_WINDOW

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write(
    place: Place, pipeline: Pipeline, report: Report, windows: Iterable[int], part: str
) -> None:
    """Write what is not there yet of the stages, streams and windows of a run.

    Args:
        windows: that the run speaks of, microseconds.
        part: the publication's name.

    Raises:
        StoreError: the star cannot be read or written.
    """
    _write_stages(place, pipeline)
    _write_streams(place, report, part)
    write_windows(place, report, windows)


def _write_stages(place: Place, pipeline: Pipeline) -> None:
    rows = [
        {
            "pipeline": pipeline.name,
            "stage": stage.name,
            "position": position,
            "kind": stage.kind,
            "after": stage.after,
            "place": mask(", ".join(stage.paths or stage.topics)),
        }
        for position, stage in enumerate(pipeline.stages)
    ]
    table = pa.Table.from_pylist(rows, schema=DIM_STAGE.schema)
    # One file for each pipeline: what its file says now is what is shown.
    place.write(DIM_STAGE, pipeline.name, table)


def _write_streams(place: Place, report: Report, part: str) -> None:
    held = place.read_all(DIM_STREAM)  # nobody removes them
    known = held.filter(pc.equal(held["pipeline"], report.pipeline))["stream"]
    streams = pc.unique(report.balances["stream"])
    new = streams.filter(pc.invert(pc.is_in(streams, known.combine_chunks())))
    if len(new):
        names = pa.repeat(pa.scalar(report.pipeline), len(new))
        place.write(DIM_STREAM, part, pa.table([names, new], schema=DIM_STREAM.schema))


def write_windows(place: Place, report: Report, windows: Iterable[int]) -> None:
    """Write the calendar of the months that windows are in. Raises StoreError."""
    days = {day_of(window, report) for window in windows if window != WHOLE}
    firsts = {(_EPOCH + timedelta(days=day)).date().replace(day=1) for day in days}
    held = set(place.parts(DIM_WINDOW)) if firsts else set()
    for first in sorted(firsts):
        part = f"{first:%Y-%m}-{report.window}"
        if part not in held:
            place.write(DIM_WINDOW, part, _month(first, report.window))


def _month(first: date, length: int) -> pa.Table:
    """The windows of a length that begin in a month."""
    begin = _micros(first)
    end = begin + calendar.monthrange(first.year, first.month)[1] * 86_400_000_000
    starts = range(-(-begin // length) * length, end, length)
    rows = []
    for start in starts:
        at = _EPOCH + timedelta(microseconds=start)
        _, week, weekday = at.isocalendar()
        rows.append(
            {
                "window": start,
                "window_end": start + length,
                "window_us": length,
                "day": at.date(),
                "hour": at.hour,
                "weekday": weekday,
                "week": week,
                "month": first,
            }
        )
    return pa.Table.from_pylist(rows, schema=DIM_WINDOW.schema)


def _micros(day: date) -> int:
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // timedelta(
        microseconds=1
    )
