"""What flows from read to decode to observe: columns, never one Python object a record.

read -> Lines | Table -> decode -> Records -> observe
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

PADDING = 64
"""Readable bytes that a Lines buffer has after its last slice, so that kernels may load words."""


@dataclass(slots=True)
class Slices:
    """n byte slices [starts, ends) of a buffer; start -1: null, -2: a line over the limit."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


@dataclass(slots=True)
class Lines:
    """n records as slices of one buffer. Valid only until the next batch is asked for.

    Text files: the line without its newline (nor a carriage return before it); blank lines are
    left out by the reader. Kafka: the value (start -1 for a null value), with the key and headers.
    """

    buffer: NDArray[np.uint8]
    values: Slices
    positions: NDArray[np.int64]  # byte offset after decompression, or Kafka offset
    arrivals: NDArray[np.int64]  # microseconds: the file's modification time, Kafka's timestamp
    sizes: NDArray[np.int64]  # bytes of the record: line without newline; key + value
    keys: Slices | None = None
    headers: dict[str, Slices] = field(default_factory=dict)  # only those that were asked for

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(slots=True)
class Table:
    """n records as Arrow columns (Parquet), only the columns that were asked for."""

    batch: pa.RecordBatch
    positions: NDArray[np.int64]  # row number within the file
    arrivals: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(slots=True)
class Records:
    """n decoded records. stream and origin are codes of decode.names.Names.

    Rows whose flaw is neither 0 nor `future` take no part in the books: their other columns say
    nothing, save `size`, `arrival` and `position`.
    """

    id: NDArray[np.uint32]
    time: NDArray[np.int64]  # event time, microseconds since the epoch, UTC
    stream: NDArray[np.int32]
    origin: NDArray[np.int32]
    size: NDArray[np.int64]
    arrival: NDArray[np.int64]
    position: NDArray[np.int64]
    flaw: NDArray[np.uint8]  # 0, or 1 + index in units.FLAWS

    def __len__(self) -> int:
        return len(self.id)
