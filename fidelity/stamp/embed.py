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
    buffer = np.frombuffer(data, np.uint8)
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
    places, verdicts = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.uint8)
    find = text_places if line_format == "text" else json_places
    find(buffer, starts, ends, places, verdicts)
    for row in _unfit(data, buffer, starts):
        verdicts[row] = MALFORMED
    for row in np.flatnonzero(verdicts == UNSURE).tolist():
        verdicts[row], place = slow_json_place(data[starts[row] : ends[row]])
        places[row] = starts[row] + place
    return places, verdicts


def _unfit(data: bytes, buffer: NDArray[np.uint8], starts: NDArray[np.int64]) -> list[int]:
    """Lines that hold NUL or are not UTF-8, which no reader takes for a record."""
    unfit: list[int] = []
    if b"\0" in data:
        unfit += (np.searchsorted(starts, np.flatnonzero(buffer == 0), "right") - 1).tolist()
    view, at = memoryview(data), 0
    while at < len(data) and not data.isascii():
        try:
            str(view[at:], "utf-8")
            break
        except UnicodeDecodeError as error:
            row = int(np.searchsorted(starts, at + error.start, "right")) - 1
            unfit.append(row)
            at = int(starts[row + 1]) if row + 1 < len(starts) else len(data)
    return unfit


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
    to, done = 0, 0
    for line in range(len(starts)):
        start, end, stop = starts[line], ends[line], stops[line]
        verdict = verdicts[line]
        if verdict < TEXT or verdict > ONLY_MEMBER:
            out[to : to + stop - start] = buffer[start:stop]
            to += stop - start
            continue
        spans[0, done] = to
        place = places[line]
        out[to : to + place - start] = buffer[start:place]
        to += place - start
        for k in range(_PIECE_LENGTHS[verdict]):
            out[to + k] = _PIECES[verdict, k]
        to += _PIECE_LENGTHS[verdict]
        for k in range(8):
            out[to + k] = _HEX[(ids[done] >> np.uint32(28 - 4 * k)) & np.uint32(15)]
        to += 8
        if verdict != TEXT:
            out[to] = 0x22
            to += 1
        out[to : to + stop - place] = buffer[place:stop]
        spans[1, done] = to + end - place
        to += stop - place
        done += 1
    return to


def warm() -> None:
    """Compile the kernels."""
    formats: tuple[LineFormat, ...] = ("json", "text")
    for line_format in formats:
        embed(b"{}\n", line_format, lambda n: np.zeros(n, np.uint32))
