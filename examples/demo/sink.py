"""A sink lands the aggregate topic in a lake of Parquet files, as Camus or a connector does.

Two faults: it restarts after it has written a file but before it has committed its offset, so it
writes that run again; and it loses a few single records, here and there.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from .mirror import held, read_range
from .truth import Truth

PER_FILE = 40_000
REPLAYED = 2_000  # records written again after the restart
SINGLES = 9  # records lost at random, from the first file of each partition

_SCHEMA = pa.schema(
    [
        ("fid", pa.uint32()),
        ("ts", pa.timestamp("us", "UTC")),
        ("type", pa.string()),
        ("host", pa.string()),
        ("msg", pa.string()),
    ]
)


def land(brokers: str, topic: str, lake: Path, truth: Truth) -> Iterator[tuple[int, int]]:
    """Write all that the topic holds now. Yields (partition, records) as each is done."""
    lake.mkdir(parents=True, exist_ok=True)
    ranges = {n: span for n, span in sorted(held(brokers, topic).items()) if span[1] > span[0]}
    restarts = max(ranges, key=lambda n: ranges[n][1] - ranges[n][0])
    for partition, (low, high) in ranges.items():
        lines = [message.value() for message in read_range(brokers, topic, partition, low, high)]
        if partition == restarts:
            again = _parsable(lines[PER_FILE - REPLAYED : PER_FILE])
            truth.tell("duplicate", "run replayed after a restart", again)
            lines[PER_FILE:PER_FILE] = again
        lines = _lose_singles(lines, partition, truth)
        for number, first in enumerate(range(0, len(lines), PER_FILE)):
            _write(lake / f"part-{partition}-{number}.parquet", lines[first : first + PER_FILE])
        yield partition, len(lines)


def _lose_singles(lines: list[bytes], partition: int, truth: Truth) -> list[bytes]:
    early = min(len(lines), PER_FILE - REPLAYED) // 2  # before the replayed run
    lost = {
        number
        for number in Random(partition).sample(range(early), SINGLES)
        if _parsable([lines[number]])
    }
    truth.tell("lost", "single records lost", (lines[number] for number in sorted(lost)))
    return [line for number, line in enumerate(lines) if number not in lost]


def _parsable(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if line.endswith(b"}")]


def _write(path: Path, lines: list[bytes]) -> None:
    records = [json.loads(line) for line in _parsable(lines)]
    columns = {
        "fid": [int(record["fid"], 16) for record in records],
        "ts": [datetime.fromisoformat(record["ts"]) for record in records],
        **{name: [record[name] for record in records] for name in ("type", "host", "msg")},
    }
    pq.write_table(pa.table(columns, schema=_SCHEMA), path, row_group_size=20_000)
