"""Where in a line the id goes: kernels that change nothing, and stamp only what they are sure of.

Law: a line that is given a place holds one record without an id (text without the suffix, or one
valid JSON object without a member `fid`); with an id put there it is that record, carrying it.
What is valid is what decoding takes for valid: the same scanner says so.
"""

import json
from typing import Any, NoReturn

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fidelity.decode.digits import UNSURE as NO_HEX
from fidelity.decode.digits import hex_digits
from fidelity.decode.grammar import blanks
from fidelity.decode.scanner import QUOTES_HELD, scan_object
from fidelity.decode.spans import ABSENT, FORMS, SPANS, Members, Sought
from fidelity.decode.utf8 import is_text
from fidelity.decode.words import Number, address, byte, lowest, peek, quotes, word

UNSURE, TEXT, MEMBER, ONLY_MEMBER, ALREADY, MALFORMED, BLANK = range(7)
"""Verdicts on a line. TEXT, MEMBER (after others) and ONLY_MEMBER are stamped; UNSURE is asked
again of `slow_json_place`."""

_SUFFIX = np.uint64(int.from_bytes(b" fid=", "little"))
_NAME = np.uint64(int.from_bytes(b'"fid"', "little"))
_ONE = np.uint64(1)
_FIVE = np.uint64(0xFFFFFFFFFF)
_CLOSE = 0x7D
_FID = Members([b"fid"])

Places = NDArray[np.int64]
Verdicts = NDArray[np.uint8]


def text_places(buffer: NDArray[np.uint8], starts: Places, ends: Places) -> tuple[Places, Verdicts]:
    """Places and verdicts of text lines [starts, ends): the end, unless it is stamped.

    The buffer has PADDING bytes after the last line.
    """
    verdicts = np.empty(len(starts), np.uint8)
    _text_verdicts(address(buffer), starts, ends, verdicts)
    return ends, verdicts


def json_places(buffer: NDArray[np.uint8], starts: Places, ends: Places) -> tuple[Places, Verdicts]:
    """Places and verdicts of JSON lines [starts, ends): before the last brace.

    The buffer has PADDING bytes after the last line.
    """
    places, verdicts = np.zeros(len(starts), np.int64), np.empty(len(starts), np.uint8)
    scratch = np.empty(SPANS + QUOTES_HELD + 128, np.int64)
    _json_verdicts(address(buffer), starts, ends, _FID.sought, address(scratch), places, verdicts)
    return places, verdicts


@njit(cache=True)
def _text_verdicts(base: Number, starts: Places, ends: Places, verdicts: Verdicts) -> None:
    for line in range(len(starts)):
        start, end = base + starts[line], base + ends[line]
        if start == end:
            verdicts[line] = BLANK
        elif not is_text(start, end):
            verdicts[line] = MALFORMED
        elif (
            end - start >= 13
            and word(end - 13) & _FIVE == _SUFFIX
            and hex_digits(end - 8) != NO_HEX
        ):
            verdicts[line] = ALREADY
        else:
            verdicts[line] = TEXT


@njit(cache=True)
def _named(start: Number, end: Number) -> bool:
    """Whether a line holds `"fid"` at all: to the scanner a member that is null is absent."""
    at = start
    while at < end:
        found = quotes(at)
        while found != 0:
            if word(at + lowest(found)) & _FIVE == _NAME:
                return True
            found &= found - _ONE
        at += 64
    return False


@njit(cache=True)
def _json_verdicts(
    base: Number,
    starts: Places,
    ends: Places,
    sought: Sought,
    scratch: Number,
    places: Places,
    verdicts: Verdicts,
) -> None:
    for line in range(len(starts)):
        start, end = base + starts[line], base + ends[line]
        if start == end:
            verdicts[line] = BLANK
        elif not scan_object(start, end, sought, scratch, scratch + 8 * SPANS):
            verdicts[line] = UNSURE
        elif peek(scratch, FORMS) != ABSENT:
            verdicts[line] = ALREADY
        elif _named(start, end):
            verdicts[line] = UNSURE
        else:
            close = end - 1
            while byte(close) != _CLOSE:
                close -= 1
            places[line] = close - base
            empty = blanks(blanks(start, end) + 1, end) == close
            verdicts[line] = ONLY_MEMBER if empty else MEMBER


def slow_json_place(line: bytes) -> tuple[int, int]:
    """The same for a line that the kernel was not sure of: its verdict, and the place within it."""
    try:
        value = json.loads(line.decode(), object_pairs_hook=_pairs, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # finds half surrogates
    except (ValueError, RecursionError):
        return MALFORMED, 0
    if not isinstance(value, _Members):
        return MALFORMED, 0
    if any(name == "fid" for name, _ in value.pairs):
        return ALREADY, 0
    return (MEMBER if value.pairs else ONLY_MEMBER), line.rindex(b"}")


class _Members(dict[str, Any]):
    """An object, with repeated names kept."""

    pairs: list[tuple[str, Any]]


def _pairs(pairs: list[tuple[str, Any]]) -> _Members:
    members = _Members(pairs)
    members.pairs = pairs
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
