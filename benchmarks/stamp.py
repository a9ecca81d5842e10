"""What stamping costs: nanoseconds a record, bulk and pipe. The limit is 1,000 in bulk.

    python -m benchmarks.stamp [records]

With a state file on disk and a manifest; the figure is the best of several runs.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fidelity.config import Place
from fidelity.sources.manifests import warm as warm_manifests
from fidelity.stamp import Stamper
from fidelity.stamp import embed as embedding
from fidelity.stamp.embed import LineFormat
from fidelity.stamp.pipe import pipe

LIMIT = 1000
RUNS = 9
LINE = (
    '{"ts": "2026-07-01T12:%02d:%02d.123456Z", "host": "host1", "type": "access", "level": "info", '
    '"msg": "GET /api/v1/orders 0123456789abcdef 0.123456 and some more text here to fill"}\n'
)


def best(act: Callable[[], None], records: int) -> float:
    """Nanoseconds a record, of the quickest run."""
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter_ns()
        act()
        times.append(time.perf_counter_ns() - begun)
    return min(times) / records


def through_pipe(
    stamper: Stamper, source: Path, line_format: LineFormat, time: Place | None = None
) -> None:
    with source.open("rb", buffering=0) as stdin, Path(os.devnull).open("wb") as stdout:
        report = pipe(stdin, stdout, stamper, line_format=line_format, time=time)
    assert report.malformed == 0


def measure(folder: Path, records: int) -> dict[str, float]:
    source = folder / "lines"
    lines = "".join(LINE % (k // 60 % 60, k % 60) for k in range(records)).encode()
    source.write_bytes(lines)
    times = 1_783_000_000_000_000 + np.arange(records) * 1000
    with Stamper("access", "host1", state=folder / "s", manifest=folder / "m") as stamper:

        def claim() -> None:
            ids = stamper.take(records)
            stamper.written(ids, times, 170)
            stamper.flush()

        def singly() -> None:
            for _ in range(records // 10):
                stamper.next()

        return {
            "take, 1,000 at a time": best(
                lambda: [stamper.take(1000) for _ in range(records // 1000)].clear(), records
            ),
            "take and written, with a manifest": best(claim, records),
            "JSON lines in bulk": best(lambda: _stamp(stamper, lines, "json"), records),
            "text lines in bulk": best(lambda: _stamp(stamper, lines, "text"), records),
            "pipe, JSON lines, with a manifest": best(
                lambda: through_pipe(stamper, source, "json"), records
            ),
            "the same, event time from the line": best(
                lambda: through_pipe(stamper, source, "json", Place(field="ts")), records
            ),
            "pipe, text lines, with a manifest": best(
                lambda: through_pipe(stamper, source, "text"), records
            ),
            "one at a time (no limit)": best(singly, records // 10),
        }


def _stamp(stamper: Stamper, lines: bytes, line_format: LineFormat) -> None:
    step = lines.rfind(b"\n", 0, 1 << 20) + 1
    at = 0
    while at < len(lines):
        end = lines.rfind(b"\n", at, at + step) + 1
        stamper.stamp(lines[at:end], line_format)
        at = end


def main() -> int:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    embedding.warm()
    warm_manifests()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), records)
    for name, figure in figures.items():
        print(f"{name:36} {figure:8.0f} ns/record")
    bulk = [figure for name, figure in figures.items() if "no limit" not in name]
    print(f"limit in bulk: {LIMIT} ns/record, {'kept' if max(bulk) <= LIMIT else 'BROKEN'}")
    return int(max(bulk) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
