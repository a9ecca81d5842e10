"""Slices of memory as Arrow arrays, for what goes to the SQL."""

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from fidelity.decode.words import address, byte
from fidelity.records import Slices


@njit(cache=True)
def _gather(
    base: int,
    starts: NDArray[np.int64],
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
) -> None:
    for i in range(len(starts)):
        shift = base + starts[i] - offsets[i]
        for at in range(offsets[i], offsets[i + 1]):
            data[at] = byte(shift + at)


def gathered(buffer: NDArray[np.uint8], slices: Slices, rows: NDArray[np.int64]) -> pa.Array:
    """The bytes of some rows' slices as large_binary, copied together; null where start < 0."""
    starts, ends = slices.starts[rows], slices.ends[rows]
    present = starts >= 0
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(np.where(present, ends - starts, 0), out=offsets[1:])
    data = np.empty(int(offsets[-1]), np.uint8)
    _gather(address(buffer), starts, offsets, data)
    whole = pa.Array.from_buffers(
        pa.large_binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    if present.all():
        return whole
    bits = pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(
        pa.large_binary(), len(rows), [bits, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
