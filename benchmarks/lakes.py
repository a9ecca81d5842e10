"""Makes lakes of Parquet to compare: a source, and sinks of it with differences planted.

    python -m benchmarks.lakes FOLDER [--records 3000000] [--differences 10+5]

Rows of about 170 bytes: ts, type, host, fid and a payload; one hour, three streams, six hosts, as
in benchmarks/generate.py. The source has eight files of a few row groups; a sink has six, its rows
in the order in which three Kafka partitions would have brought them. `truth.parquet` beside a sink
says what was planted there: type, host, fid, kind.
"""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.generate import HOSTS, HOUR, START, STREAMS
from fidelity.identity import ids_of, producer_seed

SOURCE_FILES, SINK_FILES = 8, 6
GROUP = 250_000
"""Rows of a row group; a chunk of the making."""

PRODUCERS = [(stream, f"host-{n:02}") for stream in STREAMS for n in range(HOSTS)]
PARTITIONS = 3
SEED = 20_260_101

_PAYLOAD = (
    "GET /api/v2/orders/########/items?session=****************&page=## 200 ####ms "
    "agent=mobile/7.4 region=eu-west user=######## trace=****************"
)
_TIME = pa.timestamp("us")
_NAME = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        ("ts", _TIME),
        ("type", _NAME),
        ("host", _NAME),
        ("fid", pa.uint32()),
        ("payload", pa.string()),
    ]
)
_TRUTH = pa.schema(
    [("type", pa.string()), ("host", pa.string()), ("fid", pa.uint32()), ("kind", pa.string())]
)


@dataclass(frozen=True, slots=True)
class Planted:
    """How many records of a sink are lost, and how many others are there twice."""

    losses: int
    duplicates: int

    def __str__(self) -> str:
        return f"{self.losses}+{self.duplicates}"


def planted(text: str) -> Planted:
    """`10+5`: 10 losses and 5 duplicates."""
    losses, _, duplicates = text.partition("+")
    return Planted(int(losses), int(duplicates or 0))


@dataclass(frozen=True, slots=True)
class Lakes:
    """Two folders of Parquet files, and what differs."""

    source: Path
    sink: Path
    records: int
    planted: Planted

    def truth(self) -> pa.Table:
        """type, host, fid, kind of each difference."""
        return pq.read_table(self.sink.parent / "truth.parquet")


def lakes(folder: Path, records: int, differences: list[Planted]) -> list[Lakes]:
    """The source of so many records, with a sink for each set of differences; made once."""
    home = folder / f"lakes-{records}"
    sinks = {each: home / str(each) for each in differences}
    missing = {each: sink for each, sink in sinks.items() if not (sink / "done").exists()}
    if missing or not (home / "done").exists():
        _make(home, records, missing)
    return [Lakes(home / "source", sink / "lake", records, each) for each, sink in sinks.items()]


def _make(home: Path, records: int, sinks: dict[Planted, Path]) -> None:
    for folder in sinks.values():
        shutil.rmtree(folder, ignore_errors=True)
    if not (home / "done").exists():
        shutil.rmtree(home / "source", ignore_errors=True)
    with ExitStack() as stack:
        source = None
        if not (home / "done").exists():
            source = stack.enter_context(_Files(home / "source", SOURCE_FILES, records))
        picked = {each: _picked(records, each) for each in sinks}
        writers = {
            each: stack.enter_context(_Files(sink / "lake", SINK_FILES, records))
            for each, sink in sinks.items()
        }
        truth: dict[Planted, list[pa.Table]] = {each: [] for each in sinks}
        for number, chunk in _chunks(records):
            if source is not None:
                source.write(chunk)
            for each, writer in writers.items():
                writer.write(_arrived(chunk, number, *picked[each]))
                truth[each].append(_differences(chunk, number, *picked[each]))
    for each, sink in sinks.items():
        pq.write_table(pa.concat_tables(truth[each]), sink / "truth.parquet")
        (sink / "done").touch()
    (home / "done").touch()


class _Files:
    """Rows spread over so many files, one after another, as their row groups come."""

    def __init__(self, folder: Path, files: int, records: int) -> None:
        folder.mkdir(parents=True)
        self._folder, self._share = folder, -(-records // files)
        self._written, self._file = 0, -1
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        file = self._written // self._share
        if file != self._file:  # without Arrow's own schema: plain strings, as most lakes have them
            self.__exit__()
            path = self._folder / f"part-{file:03}.parquet"
            self._file, self._writer = file, pq.ParquetWriter(path, _SCHEMA, store_schema=False)
        assert self._writer is not None
        self._writer.write_table(
            table, row_group_size=2 * GROUP
        )  # a chunk is one, whatever is twice
        self._written += len(table)


def _chunks(records: int) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """The rows' numbers, and the rows. Each producer counts its own, from a place of its own."""
    seeds = np.array([producer_seed(*names) for names in PRODUCERS], np.uint32)
    following = np.random.default_rng(SEED).integers(0, 1 << 31, len(PRODUCERS))
    for at in range(0, records, GROUP):
        number = np.arange(at, min(at + GROUP, records), dtype=np.int64)
        producer = _producer(number)
        sequence = np.empty(len(number), np.int64)
        for each in range(len(PRODUCERS)):
            mine = np.flatnonzero(producer == each)
            sequence[mine] = following[each] + np.arange(len(mine))
            following[each] += len(mine)
        yield (
            number,
            pa.table(
                [
                    pa.array(START + number * HOUR // records, _TIME),
                    _named([stream for stream, _ in PRODUCERS], producer),
                    _named([host for _, host in PRODUCERS], producer),
                    pa.array(ids_of(sequence, seeds[producer])),
                    _payloads(number),
                ],
                schema=_SCHEMA,
            ),
        )


def _named(names: list[str], producer: NDArray[np.int64]) -> pa.Array:
    known = list(dict.fromkeys(names))
    code = np.array([known.index(name) for name in names], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(code[producer]), pa.array(known))


def _producer(number: NDArray[np.int64]) -> NDArray[np.int64]:
    spread: NDArray[np.int64] = (number * 2_654_435_761 >> 7) % len(PRODUCERS)
    return spread


def _payloads(number: NDArray[np.int64]) -> pa.Array:
    """Texts of one length, the # filled with digits and the * with hex digits, always the same."""
    rows = np.tile(np.frombuffer(_PAYLOAD.encode(), np.uint8), (len(number), 1))
    mixed = number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    for base, mark in ((10, "#"), (16, "*")):
        for nth, place in enumerate(n for n, letter in enumerate(_PAYLOAD) if letter == mark):
            if nth % 12 == 0:
                mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            part = mixed >> np.uint64(16 + 4 * (nth % 12))
            rows[:, place] = digits[part % np.uint64(base)]
    offsets = np.arange(len(number) + 1, dtype=np.int32) * len(_PAYLOAD)
    return pa.StringArray.from_buffers(len(number), pa.py_buffer(offsets), pa.py_buffer(rows))


def _picked(records: int, differences: Planted) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the lost records, and of those that came twice."""
    chance = np.random.default_rng(SEED)
    wanted = differences.losses + differences.duplicates
    numbers = chance.choice(records, wanted, replace=False).astype(np.int64)
    return np.sort(numbers[: differences.losses]), np.sort(numbers[differences.losses :])


def _arrived(
    chunk: pa.Table, number: NDArray[np.int64], lost: NDArray[np.int64], twice: NDArray[np.int64]
) -> pa.Table:
    """What the sink holds of a chunk, partition by partition."""
    rows = np.flatnonzero(~np.isin(number, lost))
    rows = np.concatenate([rows, np.flatnonzero(np.isin(number, twice))])
    partition = _producer(number)[rows] % PARTITIONS
    return chunk.take(pa.array(rows[np.argsort(partition, kind="stable")]))


def _differences(
    chunk: pa.Table, number: NDArray[np.int64], lost: NDArray[np.int64], twice: NDArray[np.int64]
) -> pa.Table:
    """What was planted in a chunk: type, host, fid, kind."""
    parts = []
    for kind, picked in (("lost", lost), ("duplicate", twice)):
        rows = chunk.filter(pa.array(np.isin(number, picked))).select(["type", "host", "fid"])
        parts.append(rows.append_column("kind", pa.repeat(pa.scalar(kind), len(rows))))
    return pa.concat_tables(parts).cast(_TRUTH)


def main() -> None:
    """Make them, and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=3_000_000)
    parser.add_argument("--differences", type=planted, action="append")
    given = parser.parse_args()
    for made in lakes(given.folder, given.records, given.differences or [Planted(10, 5)]):
        for side in (made.source, made.sink):
            size = sum(path.stat().st_size for path in side.iterdir())
            print(f"{side}  {size / made.records:.1f} bytes a record on disk")


if __name__ == "__main__":
    main()
