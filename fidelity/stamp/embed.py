"""Ids put into text or JSON lines in bulk, a block of lines at a time.

Law: without the ids that were put in, the lines are byte for byte what they were; lines that cannot
carry an id (blank, already stamped, not valid) are passed on as they are, and counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fidelity.records import PADDING
from fidelity.stamp.places import (
    ALREADY,
    BLANK,
    MALFORMED,
    MEMBER,
    ONLY_MEMBER,
    TEXT,
    UNSURE,
    json_places,
    slow_json_place,
    text_places,
)

LineFormat = Literal["json", "text"]

_BEFORE = {TEXT: b" fid=", MEMBER: b',"fid":"', ONLY_MEMBER: b'"fid":"'}
_LONGEST_STAMP = 17
_PIECES = np.zeros((ONLY_MEMBER + 1, 8), np.uint8)
_PIECE_LENGTHS = np.zeros(ONLY_MEMBER + 1, np.int64)
for _verdict, _piece in _BEFORE.items():
    _PIECES[_verdict, : len(_piece)] = np.frombuffer(_piece, np.uint8)
    _PIECE_LENGTHS[_verdict] = len(_piece)
_QUOTE = 0x22
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


@dataclass(frozen=True, slots=True)
class Stamped:
    """A block of lines with their ids, and what was done to them."""

    padded: NDArray[np.uint8]  # the lines, newlines as they were, and records.PADDING bytes more
    ids: NDArray[np.uint32]  # of the lines that were stamped here, in order
    starts: NDArray[np.int64]  # where each of them begins in data
    ends: NDArray[np.int64]  # where each of them ends in data, without its newline
    already: int  # lines that carried an id (or a member fid) and were left alone
    malformed: int  # lines that are not UTF-8, hold NUL, or are not one JSON object: left alone
    blank: int

    @property
    def data(self) -> memoryview:
        """The lines."""
        return self.padded[:-PADDING].data

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each stamped line, id included, newline not."""
        return self.ends - self.starts


def embed(
    data: bytes, line_format: LineFormat, take: Callable[[int], NDArray[np.uint32]]
) -> Stamped:
    """Stamp a block of lines.

    Args:
        data: whole lines; the last may lack its newline.
        line_format: text, or one JSON object a line.
        take: gives the next n ids; called once.

    Raises:
        Whatever `take` raises; nothing is lost, `data` is unchanged.
    """
    padded = np.empty(len(data) + PADDING, np.uint8)
    buffer = padded[: len(data)]
    buffer[:] = np.frombuffer(data, np.uint8)
    starts, stops, ends = _bounds(buffer)
    places, verdicts = _places(data, buffer, starts, ends, line_format)
    chosen = (verdicts >= TEXT) & (verdicts <= ONLY_MEMBER)
    ids = take(int(chosen.sum()))
    out = np.empty(len(buffer) + _LONGEST_STAMP * len(ids) + PADDING, np.uint8)
    spans = np.empty((2, len(ids)), np.int64)
    length = _fill(buffer, (starts, ends, stops), places, verdicts, ids, out, spans)
    return Stamped(
        padded=out[: length + PADDING],
        ids=ids,
        starts=spans[0],
        ends=spans[1],
        already=int((verdicts == ALREADY).sum()),
        malformed=int((verdicts == MALFORMED).sum()),
        blank=int((verdicts == BLANK).sum()),
    )


def _bounds(buffer: NDArray[np.uint8]) -> tuple[NDArray[np.int64], ...]:
    """Of each line: its start, its end with the newline, its end without (nor a CR before it)."""
    stops = np.flatnonzero(buffer == 0x0A) + 1
    newline = np.ones(len(stops), np.int64)
    if len(buffer) and (not len(stops) or stops[-1] != len(buffer)):
        stops, newline = np.append(stops, len(buffer)), np.append(newline, 0)
    starts = np.concatenate([[0], stops[:-1]])[: len(stops)]
    ends = stops - newline
    carriage = (ends > starts) & (buffer[np.maximum(ends - 1, 0)] == 0x0D) if len(stops) else False
    return starts, stops, ends - carriage


def _places(
    data: bytes,
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    line_format: LineFormat,
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    if line_format == "text":
        return text_places(buffer, starts, ends)
    places, verdicts = json_places(buffer, starts, ends)
    for row in np.flatnonzero(verdicts == UNSURE).tolist():
        verdicts[row], place = slow_json_place(data[starts[row] : ends[row]])
        places[row] = starts[row] + place
    return places, verdicts


@njit(cache=True, inline="always")
def _copy(
    out: NDArray[np.uint8], to: np.uint64, buffer: NDArray[np.uint8], start: int, stop: int
) -> np.uint64:
    """Copies buffer[start:stop]; the place after it. Unsigned places spare the test for -1."""
    count = np.uint64(stop - start)
    first = np.uint64(start)
    for k in range(count):
        out[to + k] = buffer[first + k]
    return to + count


@njit(cache=True)
def _fill(
    buffer: NDArray[np.uint8],
    bounds: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    places: NDArray[np.int64],
    verdicts: NDArray[np.uint8],
    ids: NDArray[np.uint32],
    out: NDArray[np.uint8],
    spans: NDArray[np.int64],
) -> int:
    """Copies the lines, with an id where one belongs; returns the length. spans: starts, ends."""
    starts, ends, stops = bounds
    to, done = np.uint64(0), 0
    for line in range(len(starts)):
        verdict = verdicts[line]
        if verdict < TEXT or verdict > ONLY_MEMBER:
            to = _copy(out, to, buffer, starts[line], stops[line])
            continue
        spans[0, done] = to
        to = _copy(out, to, buffer, starts[line], places[line])
        to = _copy(out, to, _PIECES[verdict], 0, _PIECE_LENGTHS[verdict])
        for k in range(8):
            out[to + np.uint64(k)] = _HEX[(ids[done] >> np.uint32(28 - 4 * k)) & np.uint32(15)]
        to += np.uint64(8)
        if verdict != TEXT:
            out[to] = _QUOTE
            to += np.uint64(1)
        spans[1, done] = to + np.uint64(ends[line] - places[line])
        to = _copy(out, to, buffer, places[line], stops[line])
        done += 1
    return int(to)


def warm() -> None:
    """Compile the kernels."""
    formats: tuple[LineFormat, ...] = ("json", "text")
    for line_format in formats:
        embed(b"{}\n", line_format, lambda n: np.zeros(n, np.uint32))
