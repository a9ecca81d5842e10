"""What observing costs: nanoseconds a record, bytes a record in the store, decoding a sketch.

    python -m benchmarks.observe [records]

One thread; the figure is the best of several runs. Limits: 45 ns and 0.1 byte a record, for 3
streams over one hour, read as 3 units.
"""

import io
import sys
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fidelity import observe, sketch
from fidelity.decode.names import Names
from fidelity.observe import OBSERVATIONS, Observer, write_options
from fidelity.records import Records

NANOSECONDS, BYTES = 45.0, 0.1
WINDOW = 600_000_000
HOUR = 6 * WINDOW
RUNS = 5
BATCH = 6_000  # records in a mebibyte of text


def records_of(count: int, streams: int, origins: int, names: Names) -> Records:
    """Records of an hour, in order of time."""
    random = np.random.default_rng(1)
    codes = names.codes(pa.array([f"name-{k}" for k in range(max(streams, origins))]))
    times = np.sort(random.integers(0, HOUR, count))
    return Records(
        random.integers(0, 2**32, count, dtype=np.uint32),
        times,
        codes[random.integers(0, streams, count)],
        codes[random.integers(0, origins, count)],
        random.integers(100, 240, count),
        times + random.integers(0, 5_000_000, count),
        np.arange(count),
        np.zeros(count, np.uint8),
    )


def part(records: Records, at: slice) -> Records:
    return Records(*(getattr(records, name)[at] for name in Records.__slots__))


def observed(records: Records, names: Names, units: int) -> pa.Table:
    observer = Observer(WINDOW, names)
    rows: list[pa.RecordBatch] = []
    for unit in range(units):
        mine = part(records, slice(unit, None, units)) if units > 1 else records
        for start in range(0, len(mine), BATCH):
            observer.add(part(mine, slice(start, start + BATCH)))
        rows += observer.rows(f"0123456789abcdef:{unit}", "2026-01-01", "lake")
    return pa.Table.from_batches(rows, OBSERVATIONS)


def best(act: Callable[[], object]) -> float:
    """Nanoseconds of this thread, of the run that took least: other work goes on beside it."""
    times = []
    for _ in range(RUNS):
        begun = time.thread_time_ns()
        act()
        times.append(time.thread_time_ns() - begun)
    return float(min(times))


def stored(rows: pa.Table) -> int:
    file = io.BytesIO()
    pq.write_table(rows, file, **write_options())
    return file.tell()


def decode(differences: int) -> float:
    """Nanoseconds to decode a sketch of so many differences."""
    cells = sketch.empty()
    sketch.add(cells, np.random.default_rng(1).integers(0, 2**32, differences, dtype=np.uint32))
    return best(lambda: sketch.decode(cells))


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
    observe.warm()
    sketch.warm()
    figures = {}
    for streams, origins in ((1, 1), (3, 6), (3, 200)):
        names = Names()
        records = records_of(count, streams, origins, names)
        nanoseconds = best(lambda r=records, n=names: observed(r, n, 1)) / count  # type: ignore[misc]
        size = stored(observed(records, names, 3)) / count
        figures[streams, origins] = nanoseconds, size
        print(
            f"observe, {streams} streams, {origins:3} origins {nanoseconds:8.1f} ns/record,"
            f" {size:6.3f} bytes/record in 3 units"
        )
    for differences in (1, 50, 250, 10_000):
        print(f"decode a sketch of {differences:6} ids {decode(differences) / 1000:8.1f} us")
    nanoseconds, size = figures[3, 6]
    kept = nanoseconds <= NANOSECONDS and size <= BYTES
    print(f"limits: {NANOSECONDS} ns, {BYTES} byte a record: {'kept' if kept else 'BROKEN'}")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
