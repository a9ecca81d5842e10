"""Makes records to measure with: stamped JSON lines of about 170 bytes, in bulk, always the same.

One hour of event time, three streams, a few hosts; lines of different lengths in mixed order.
"""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fidelity.identity import ids_of, producer_seed

START = 1_767_225_600_000_000  # 2026-01-01T00:00Z, microseconds
HOUR = 3_600_000_000
STREAMS = ("access", "audit", "debug")
HOSTS = 6
CHUNK = 250_000

_LINE = (
    '{{"ts":"2026-01-01T00:{minute}","type":"{stream}","host":"{host}","fid":"{fid}",'
    '"level":"{level}","msg":"{message}"}}\n'
)
_MINUTE, _FID = "MM:SS.uuuuuuZ", "ffffffff"
_WORDS = "the quick brown fox jumps over the lazy dog while request is served in milliseconds "


def json_lines(records: int, first: int = 0, total: int | None = None) -> Iterator[bytes]:
    """Lines number first .. first + records of `total`, which take an hour, in chunks of bytes."""
    total = first + records if total is None else total
    for at in range(first, first + records, CHUNK):
        yield _chunk(np.arange(at, min(at + CHUNK, first + records), dtype=np.int64), total)


def write_json_lines(path: Path, records: int, first: int = 0, total: int | None = None) -> None:
    """Write lines to a file."""
    with path.open("wb") as file:
        for chunk in json_lines(records, first, total):
            file.write(chunk)


def _chunk(number: NDArray[np.int64], total: int) -> bytes:
    producers = [(stream, f"host-{n:02}") for stream in STREAMS for n in range(HOSTS)]
    producer = (number * 2_654_435_761 >> 7) % len(producers)
    lines = [_template(n, *names) for n, names in enumerate(producers)]
    lengths = np.array([len(line) for line in lines])[producer]
    starts = np.cumsum(lengths) - lengths
    buffer = np.empty(int(lengths.sum()), np.uint8)
    times = START + number * HOUR // total
    for n, (line, names) in enumerate(zip(lines, producers, strict=True)):
        mine = np.flatnonzero(producer == n)
        rows = np.tile(np.frombuffer(line, np.uint8), (len(mine), 1))
        # The record's number is its producer's sequence number: ids need not be without gaps.
        ids = ids_of(number[mine].astype(np.uint32), producer_seed(*names))
        _put_hex(rows, line.index(_FID.encode()), ids)
        _put_time(rows, line.index(_MINUTE.encode()), times[mine] % HOUR)
        buffer[starts[mine, None] + np.arange(len(line))] = rows
    return buffer.tobytes()


def _template(n: int, stream: str, host: str) -> bytes:
    message = (_WORDS * 2)[n : n + 51 + 3 * (n % 7)]
    level = ("INFO", "WARN", "ERROR")[n % 3]
    return _LINE.format(
        minute=_MINUTE, stream=stream, host=host, fid=_FID, level=level, message=message
    ).encode()


def _put_hex(rows: NDArray[np.uint8], at: int, ids: NDArray[np.uint32]) -> None:
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    for place in range(8):
        rows[:, at + place] = digits[(ids >> np.uint32(28 - 4 * place)) & np.uint32(15)]


def _put_time(rows: NDArray[np.uint8], at: int, microseconds: NDArray[np.int64]) -> None:
    fields = (
        (0, 2, microseconds // 60_000_000),
        (3, 2, microseconds // 1_000_000 % 60),
        (6, 6, microseconds % 1_000_000),
    )
    for offset, width, value in fields:
        for place in range(width):
            digit = value // 10 ** (width - 1 - place) % 10
            rows[:, at + offset + place] = digit + ord("0")


def main() -> None:
    """`python -m benchmarks.generate FILE RECORDS`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("file", type=Path)
    parser.add_argument("records", type=int)
    arguments = parser.parse_args()
    write_json_lines(arguments.file, arguments.records)
    size = arguments.file.stat().st_size
    print(f"{arguments.records} records, {size / max(arguments.records, 1):.1f} bytes each,")
    print(f"one hour from {datetime.fromtimestamp(START // 1_000_000, UTC):%Y-%m-%dT%H:%MZ}")


if __name__ == "__main__":
    main()
