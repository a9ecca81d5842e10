"""What a scan looks for in a line, and where it writes what it found: known by address."""

import numpy as np
from numba import njit

from fidelity.decode.words import Number, address, poke

NONE = -1
"""Of a time, a name, a start: there is none."""

STRING, NUMBER, BYTES = 1, 2, 3
"""Forms of a value: text, a JSON number as it was written, raw bytes that may be binary."""

ABSENT = NONE
"""Form of a member that a line does not have, or has as null."""

Sought = tuple[int, int, int, int, int, int]
"""The needed members for kernels: how many, a bit for each length that a name has (62: and longer),
and addresses of the names' first 8 bytes, of their lengths, their bytes, and where each starts."""

LENGTHS, FORMS, TEXTS = 8, 16, 24
"""Spans are int64: where 8 values start (addresses), their lengths, their forms; then room."""

LONGEST_UNESCAPED = 2048
"""Bytes of that room for each of 4 strings that had escapes; PADDING is part of it."""

SPANS = TEXTS + 4 * LONGEST_UNESCAPED // 8
"""How many int64 spans are."""


class Members:
    """Names of needed members, all different, as the scanner looks for them."""

    def __init__(self, names: list[bytes]) -> None:
        self._names = np.frombuffer(b"".join(names) + bytes(64), np.uint8)
        self._lengths = np.array([len(name) for name in names], np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._heads = np.array(
            [int.from_bytes(name[:8].ljust(8, b"\0"), "little", signed=True) for name in names],
            np.int64,
        )

    @property
    def sought(self) -> Sought:
        """For kernels; valid as long as this lives."""
        lengths = 0
        for length in self._lengths.tolist():
            lengths |= 1 << min(length, 62)
        return (
            len(self._lengths),
            lengths,
            address(self._heads),
            address(self._lengths),
            address(self._names),
            address(self._starts),
        )


@njit(cache=True)
def put_span(spans: Number, index: Number, start: Number, length: Number, form: Number) -> None:
    """Writes down where a value is."""
    poke(spans, index, start)
    poke(spans, LENGTHS + index, length)
    poke(spans, FORMS + index, form)
