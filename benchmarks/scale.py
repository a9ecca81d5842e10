"""What to expect at 1 million, 1 billion and 1 trillion records a day, from measured costs.

    python -m benchmarks.scale [--json-ns N] [--kafka-ns N]

Measured here, in about a minute: the store's growth and the time to reconcile, for days of several
sizes, which give the cost of a scope (stage x window x stream) and of an origin within it. Taken
from `make bench`: the time to scan a record. The rest is multiplication: docs/scale.md.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from fidelity.audit import opened_store, reconcile
from fidelity.config import Pipeline, Stage
from fidelity.decode.names import Names
from fidelity.observe import Observer
from fidelity.records import Records
from fidelity.units import LOOKED, LedgerRow, Unit

DAY, WINDOW = 86_400_000_000, 600_000_000
WINDOWS = DAY // WINDOW
START = 1_767_225_600_000_000
JSON_NS, KAFKA_NS = 191.0, 165.0  # README, "Measured": the full scan of a record of 170 bytes
RECORD_BYTES, PACKED = 170, 0.35  # on the wire and at rest: lz4, zstd
PEAK = 3  # the busiest minute against the day's mean
RUNS = 3


@dataclass(frozen=True)
class Load:
    """A day: streams, and how many origins send each of them."""

    title: str
    records: float
    streams: int
    origins: int  # a stream
    stages: int = 3
    partitions: int = 1

    @property
    def scopes(self) -> int:
        return self.stages * WINDOWS * self.streams

    @property
    def entries(self) -> int:
        return self.scopes * self.origins


LOADS = (
    Load("1 million", 1e6, 3, 10, partitions=3),
    Load("1 billion", 1e9, 20, 300, partitions=48),
    Load("1 trillion", 1e12, 100, 5_000, partitions=4_000),
)
MEASURED = ((5, 10), (50, 10), (5, 300))  # streams, origins


@dataclass(frozen=True)
class Costs:
    """Of a scope, and of each origin within it."""

    scope_bytes: float
    entry_bytes: float
    fixed_seconds: float
    scope_seconds: float
    entry_seconds: float


def day(streams: int, origins: int, names: Names) -> Records:
    """A day's records, enough of them that every sketch is full and every origin is heard."""
    chance = np.random.default_rng(1)
    scopes = WINDOWS * streams
    count = scopes * max(600, 4 * origins)
    codes = names.codes(pa.array([f"name-{n:06}" for n in range(max(streams, origins))]))
    times = START + np.arange(count) * DAY // count
    return Records(
        id=chance.integers(0, 1 << 32, count, dtype=np.uint32),
        time=times,
        stream=codes[chance.integers(0, streams, count)],
        origin=codes[np.arange(count) % origins],
        size=np.full(count, RECORD_BYTES),
        arrival=times + 1_000_000,
        position=np.arange(count),
        flaw=np.zeros(count, np.uint8),
    )


def measured(streams: int, origins: int) -> tuple[float, float]:
    """(bytes that a stage's day adds to the store, seconds to reconcile two stages)."""
    stages = (
        Stage(name="source", kind="files", paths=("source/*",)),
        Stage(name="sink", kind="files", paths=("sink/*",), after="source"),
    )
    with tempfile.TemporaryDirectory() as folder:
        made = Pipeline(name="scale", store=folder, stages=stages)
        store = opened_store(made, create=True)
        size = 0
        for stage in stages:
            names = Names()
            observer = Observer(WINDOW, names)
            records = day(streams, origins, names)
            rows: list[pa.RecordBatch] = []
            for at in range(0, len(records), 1 << 16):
                part = slice(at, at + (1 << 16))
                observer.add(Records(*(getattr(records, n)[part] for n in Records.__slots__)))
            unit = Unit(stage.name, "day", "text", f"{stage.name}/day", 0, 1)
            rows += observer.rows(unit.key, "first", stage.name)
            file = store.write_observations("first", rows)
            assert file is not None
            size += file.bytes
            spec = stage.record.digest(WINDOW)
            looked = Unit(stage.name, LOOKED, "stage", "", 0, 0)
            ledger = [
                LedgerRow(unit, "read", "first", START + 2 * DAY, spec, observer.tally()),
                LedgerRow(looked, "read", "first", START + 2 * DAY, spec),
            ]
            store.commit("first", stage.name, ledger, [file], 0)
        seconds = []
        for _ in range(RUNS):
            begun = time.process_time()
            answer = reconcile(made, as_of=START + 2 * DAY, keep=False)
            seconds.append(time.process_time() - begun)
        assert answer.report.verdict == "pass", answer.report.findings[:3]
        left = sum(path.stat().st_size for path in Path(folder, "observations").glob("*.parquet"))
        assert left == size
        return size / len(stages), min(seconds)


def costs() -> Costs:
    """Measure days of several sizes, and take them apart."""
    bytes_, seconds = zip(*(measured(*each) for each in MEASURED), strict=True)
    scopes = [WINDOWS * streams for streams, _ in MEASURED]
    entries = [WINDOWS * streams * origins for streams, origins in MEASURED]
    for (streams, origins), size, spent in zip(MEASURED, bytes_, seconds, strict=True):
        print(
            f"measured: {WINDOWS} windows, {streams:3} streams, {origins:4} origins:"
            f" {size / 1e6:7.2f} MB a stage, {spent:6.2f} s to reconcile two stages"
        )
    of_bytes = np.linalg.lstsq(np.array([scopes, entries]).T, np.array(bytes_), rcond=None)[0]
    two = [2 * scope for scope in scopes], [2 * entry for entry in entries]
    of_time = np.linalg.solve(np.array([[1] * 3, *two]).T, np.array(seconds))
    return Costs(*of_bytes.tolist(), *np.maximum(of_time, 0).tolist())


def table(found: Costs, json_ns: float, kafka_ns: float) -> list[tuple[str, list[str]]]:
    """Rows for a reader: what, and for each load."""

    def row(what: str, of: "list[float]", unit: str) -> tuple[str, list[str]]:
        return what, [f"{_short(value)} {unit}" for value in of]

    reading = [load.records * (json_ns + 2 * kafka_ns) / 1e9 for load in LOADS]
    wire = [load.records * RECORD_BYTES * PACKED * load.stages for load in LOADS]
    store = [load.scopes * found.scope_bytes + load.entries * found.entry_bytes for load in LOADS]
    closing = [
        found.fixed_seconds + load.scopes * found.scope_seconds + load.entries * found.entry_seconds
        for load in LOADS
    ]
    return [
        row("scan: processor time a day", [seconds / 3600 for seconds in reading], "h"),
        row("scan: cores, all day", [seconds / 86_400 for seconds in reading], "cores"),
        row(f"scan: cores at the peak, {PEAK} times the mean",
            [PEAK * seconds / 86_400 for seconds in reading], "cores"),
        row("read from the stages a day", [size / 1e9 for size in wire], "GB"),
        row("network, mean", [size * 8 / 86_400 / 1e9 for size in wire], "Gbit/s"),
        row("store: growth a day", [size / 1e6 for size in store], "MB"),
        row("store: for each record", [
            size / load.records / load.stages for size, load in zip(store, LOADS, strict=True)
        ], "bytes"),
        row("reconcile: a day in the store", closing, "s"),
        row("reconcile: 30 days in the store", [
            found.fixed_seconds + (each - found.fixed_seconds) * 30 for each in closing
        ], "s"),
        row("records of one producer a day", [
            load.records / load.streams / load.origins for load in LOADS
        ], ""),
    ]  # fmt: skip


def _short(value: float) -> str:
    if value < 0.01:
        return "below 0.01"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json-ns", type=float, default=JSON_NS)
    parser.add_argument("--kafka-ns", type=float, default=KAFKA_NS)
    given = parser.parse_args()
    found = costs()
    print(
        f"a scope: {found.scope_bytes:,.0f} bytes, {found.scope_seconds * 1e6:,.0f} us;"
        f" an origin in it: {found.entry_bytes:,.1f} bytes, {found.entry_seconds * 1e6:,.1f} us;"
        f" a run: {found.fixed_seconds:.2f} s\n"
    )
    rows = [
        ("records a day", [load.title for load in LOADS]),
        ("---", ["---:"] * len(LOADS)),
        ("streams, origins of each", [f"{load.streams}, {load.origins:,}" for load in LOADS]),
        ("partitions of a topic", [f"{load.partitions:,}" for load in LOADS]),
        *table(found, given.json_ns, given.kafka_ns),
    ]
    for what, cells in rows:
        print(f"| {what} | {' | '.join(cell.strip() for cell in cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
