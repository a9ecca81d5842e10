"""Reports of a made-up pipeline, hour by hour: for benchmarks and for trying dashboards.

Four stages in a row, ten-minute windows, settled after half an hour. Each hour's run speaks of its
own six windows, the last three of which have not settled, and of the three before. About one row in
200 misses records; the records themselves are not made. The same hour is always the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.config import Pipeline, Stage
from fidelity.report import BALANCES, DIFFERENCES, LAGS, Books, Collisions, Report
from fidelity.report.nines import measurable, nines

START = 1_735_689_600_000_000  # 2025-01-01
MINUTE = 60_000_000
HOUR = 60 * MINUTE
WINDOW = 10 * MINUTE
SETTLE = 30 * MINUTE
STAGES = ("hosts", "local", "aggregate", "lake")
ORIGINS = 40
TARGET = 0.9999999

_ROWS: tuple[tuple[str, str | None, str | None], ...] = (
    ("hosts", None, None),
    ("local", "hosts", "source"),
    ("aggregate", "local", "source"),
    ("aggregate", "local", "local"),
    ("lake", "aggregate", "source"),
    ("lake", "aggregate", "aggregate"),
    ("local", "hosts", "hosts"),
)
"""stage, after and against of each row of a window and stream."""

Counts = NDArray[np.int64]


def pipeline(folder: str) -> Pipeline:
    """Such a pipeline, whose star is in a folder."""
    stages = [
        Stage(name=name, kind="files", after=after, paths=(f"/data/{name}/*.jsonl",))
        for after, name in zip((None, *STAGES[:-1]), STAGES, strict=True)
    ]
    settings: dict[str, Any] = {"stages": tuple(stages), "publish": {"star": f"{folder}/star"}}
    return Pipeline(name="app-logs", store=f"{folder}/store", window=WINDOW, **settings)


def report(hour: int, streams: int = 50) -> Report:
    """The run of an hour, counted from the first of January 2025."""
    start = START + hour * HOUR
    windows = np.arange(start - SETTLE, start + HOUR, WINDOW)
    as_of = start + HOUR + 5 * MINUTE
    tables = [
        _window(int(window), streams, int(window) + WINDOW + SETTLE <= as_of) for window in windows
    ]
    balances = pa.concat_tables([each[0] for each in tables])
    differences = pa.concat_tables([each[1] for each in tables])
    lags = pa.concat_tables([each[2] for each in tables])
    books = tuple(
        Books(stage, after, against, 0, None, None, flaws={"malformed": hour // 50})
        for stage, after, against in _ROWS
    )
    failed = "fail" in balances["verdict"].to_pylist()
    return Report(
        "app-logs", f"hour-{hour:05d}", as_of, None, "fail" if failed else "pass",
        None, WINDOW, SETTLE, Collisions(0.0, 0.0, "none"), books, (), balances, differences, (),
        lags, (start - SETTLE, start + HOUR),
    )  # fmt: skip


def _window(window: int, streams: int, settled: bool) -> tuple[pa.Table, pa.Table, pa.Table]:
    """A window's balances, differences and lags, with as many rows a stream as _ROWS."""
    random = np.random.default_rng(window // WINDOW)
    due = random.integers(1_000, 60_000, streams)
    missing = np.zeros((4, streams), np.int64)  # at each stage, of what came before
    for stage in (1, 2, 3):
        hit = random.random(streams) < 0.002
        missing[stage] = np.where(hit, random.integers(1, 30, streams), 0)
    here = due - np.cumsum(missing, axis=0)
    doubled = np.where(random.random((4, streams)) < 0.0005, 3, 0)
    doubled[0] = 0
    rows = [_balance(window, row, due, here, doubled, settled) for row in _ROWS]
    lost = [
        (stage, name, int(stream), int(missing[stage][stream]))
        for stage, name in enumerate(STAGES)
        for stream in np.flatnonzero(missing[stage])
    ]
    return (
        pa.concat_tables(rows),
        _lost(window, lost if settled else ()),
        _lags(window, here, settled),
    )


def _balance(
    window: int, row: tuple[str, str | None, str | None], due: Counts, here: Counts,
    doubled: Counts, settled: bool,
) -> pa.Table:  # fmt: skip
    stage, after, against = row
    at, many = STAGES.index(stage), len(due)
    expected = due if against == "source" else here[at - 1]
    delivered = here[at]
    gone = expected - delivered if against else np.zeros(many, np.int64)
    extra = doubled[at]
    bad = (gone + extra > 0) & bool(against)
    told = [
        nines(int(m), int(n)) if against else nines(0, 0)
        for m, n in zip(gone, expected, strict=True)
    ]
    verdict = np.where(bad, "fail", "pass") if settled else np.full(many, "pending")
    zero, none = np.zeros(many, np.int64), pa.nulls(many, pa.int64())
    columns = {
        "stage": [stage] * many,
        "after": [after] * many,
        "against": [against] * many,
        "window": [window] * many,
        "stream": [f"stream-{n:02d}" for n in range(many)],
        "observed": delivered + extra,
        "expected": expected if against else none,
        "delivered": delivered if against else none,
        "lost": gone if settled else zero,
        "in_flight": zero if settled else gone,
        "duplicates": extra,
        "completeness": delivered / expected if against else pa.nulls(many, pa.float64()),
        "nines": [each.nines for each in told],
        "nines_low": [each.low for each in told],
        "nines_high": [each.high for each in told],
        "measurable": [measurable(int(n), TARGET) for n in expected],
        "evidence": np.where(bad, "peeled", "digest") if against else pa.nulls(many, pa.string()),
        "verdict": verdict,
        "settled": [settled] * many,
        "reasons": [["lost"] if each else [] for each in bad],
        "surplus_shown": [True] * many,
    }  # fmt: skip
    return pa.table(
        [pa.array(columns.get(each.name, zero), each.type) for each in BALANCES], schema=BALANCES
    )


def _lost(window: int, lost: Sequence[tuple[int, str, int, int]]) -> pa.Table:
    """Up to 30 records of one origin, against the stage before and from there on the source."""
    rows = []
    for at, _, stream, many in lost:
        against = [(STAGES[at], STAGES[at - 1])]
        against += [(later, "source") for later in STAGES[at:]]
        for stage, reference in against:
            rows += [
                {
                    "stage": stage, "against": reference, "window": window,
                    "stream": f"stream-{stream:02d}",
                    "origin": f"host-{(window // WINDOW * 7 + stream) % ORIGINS:03d}",
                    "sequence": window // WINDOW * 1000 + n,
                    "id": (window // WINDOW * 2_654_435_761 + n) % 2**32,
                    "kind": "lost", "copies": 1, "position": None,
                }
                for n in range(many)
            ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=DIFFERENCES)


def _lags(window: int, here: Counts, settled: bool) -> pa.Table:
    many = here.shape[1]
    rows = [
        {
            "stage": stage, "window": window, "stream": f"stream-{n:02d}",
            "records": int(here[at][n]), "measured": int(here[at][n]),
            "settled": settled, "seen": settled,
            "p50_us": 1 << (18 + at), "p90_us": 1 << (19 + at), "p99_us": 1 << (20 + at),
            "max_us": 1 << (21 + at),
            "buckets": [{"bucket": 150 + 8 * at, "records": int(here[at][n])}],
        }
        for at, stage in enumerate(STAGES)
        for n in range(many)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=LAGS)
