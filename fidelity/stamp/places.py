"""Where in a line the id goes: kernels that change nothing, and stamp only what they are sure of.

Law: a line that is given a place holds one record without an id (text without the suffix, or one
valid JSON object without a member `fid`); with an id put there it is that record, carrying it.
"""

import json
from typing import Any, NoReturn

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fidelity.decode.words import Number, byte, lowest, stops

UNSURE, TEXT, MEMBER, ONLY_MEMBER, ALREADY, MALFORMED, BLANK = range(7)
"""Verdicts on a line. TEXT, MEMBER (after others) and ONLY_MEMBER are stamped; UNSURE is asked
again of `slow_json_place`."""

_DEEPEST = 60
_QUOTE, _BACKSLASH, _COMMA, _COLON = 0x22, 0x5C, 0x2C, 0x3A
_OPEN, _CLOSE, _BRACKET, _UNBRACKET = 0x7B, 0x7D, 0x5B, 0x5D
_ESCAPES = np.zeros(256, np.bool_)
_ESCAPES[np.frombuffer(b'"\\/bfnrt', np.uint8)] = True
_LITERAL_LENGTHS = np.array([4, 5, 4])
_LITERALS = np.zeros((3, 5), np.uint8)
for _row, _text in enumerate((b"true", b"false", b"null")):
    _LITERALS[_row, : len(_text)] = np.frombuffer(_text, np.uint8)
_SUFFIX = np.frombuffer(b" fid=", np.uint8)

Places = NDArray[np.int64]
Verdicts = NDArray[np.uint8]


@njit(cache=True)
def _is_hex(octet: int) -> bool:
    return 48 <= octet <= 57 or 97 <= octet <= 102 or 65 <= octet <= 70


@njit(cache=True)
def text_places(
    buffer: NDArray[np.uint8], starts: Places, ends: Places, places: Places, verdicts: Verdicts
) -> None:
    """Fills places and verdicts of text lines [starts, ends): the end, unless it is stamped."""
    for line in range(len(starts)):
        start, end = starts[line], ends[line]
        places[line] = end
        verdicts[line] = TEXT
        if end == start:
            verdicts[line] = BLANK
        elif end - start >= 13:
            stamped = True
            for k in range(5):
                stamped &= buffer[end - 13 + k] == _SUFFIX[k]
            for k in range(8):
                stamped &= _is_hex(buffer[end - 8 + k])
            if stamped:
                verdicts[line] = ALREADY


@njit(cache=True)
def json_places(
    buffer: NDArray[np.uint8], starts: Places, ends: Places, places: Places, verdicts: Verdicts
) -> None:
    """Fills places and verdicts of JSON lines [starts, ends): before the last brace."""
    base = np.int64(buffer.ctypes.data)
    limit = base + len(buffer)
    for line in range(len(starts)):
        if ends[line] == starts[line]:
            verdicts[line] = BLANK
        else:
            verdict, place = _json_place(base + starts[line], base + ends[line], limit)
            verdicts[line], places[line] = verdict, place - base


# Below, `at` and `end` are addresses: plain integers cost no reference counting from call to call.


@njit(cache=True)
def _blanks(at: Number, end: Number) -> Number:
    while at < end and (byte(at) == 0x20 or byte(at) == 0x09 or byte(at) == 0x0D):
        at += 1
    return at


@njit(cache=True)
def _string(at: Number, end: Number, limit: Number) -> Number:
    """Past the closing quote of a string whose inside begins at `at`; -1 if unsure."""
    while at < end:
        while at + 16 <= limit:  # may look past the line's end, but not run past its newline
            found = lowest(stops(at))
            if found < 16:
                at += found
                break
            at += 16
        if at >= end or byte(at) < 0x20:
            return -1
        if byte(at) == _QUOTE:
            return at + 1
        at = _escape(at + 1, end) if byte(at) == _BACKSLASH else at + 1
        if at < 0:
            return -1
    return -1


@njit(cache=True)
def _escape(at: Number, end: Number) -> Number:
    """Past what follows a backslash; -1 if unsure, as with what may be half a surrogate pair."""
    if at >= end:
        return -1
    if byte(at) != 0x75:  # u
        return at + 1 if _ESCAPES[byte(at)] else -1
    if at + 5 > end or byte(at + 1) == 0x64 or byte(at + 1) == 0x44:
        return -1
    for k in range(1, 5):
        if not _is_hex(byte(at + k)):
            return -1
    return at + 5


@njit(cache=True)
def _digits(at: Number, end: Number) -> Number:
    while at < end and 48 <= byte(at) <= 57:
        at += 1
    return at


@njit(cache=True)
def _number(at: Number, end: Number) -> Number:
    """Past a number; -1 if unsure (an exponent may be too large for some readers)."""
    if byte(at) == 0x2D:
        at += 1
    first = at
    at = _digits(at, end)
    if at == first or at - first > 300 or (byte(first) == 48 and at - first > 1):
        return -1
    if at < end and byte(at) == 0x2E:
        first = at + 1
        at = _digits(first, end)
        if at == first:
            return -1
    if at < end and (byte(at) == 0x65 or byte(at) == 0x45):
        return -1
    return at


@njit(cache=True)
def _literal(at: Number, end: Number) -> Number:
    """Past true, false or null; -1 otherwise."""
    for row in range(len(_LITERALS)):
        length = _LITERAL_LENGTHS[row]
        same = end - at >= length
        for k in range(length):
            same = same and byte(at + k) == _LITERALS[row, k]
        if same:
            return at + length
    return -1


@njit(cache=True)
def _scalar(at: Number, end: Number, limit: Number) -> Number:
    if byte(at) == _QUOTE:
        return _string(at + 1, end, limit)
    if byte(at) == 0x2D or 48 <= byte(at) <= 57:
        return _number(at, end)
    return _literal(at, end)


@njit(cache=True)
def _outer_key(start: Number, end: Number) -> int:
    """What a key of the outermost object, without its quotes, says about the line."""
    if (
        end - start == 3
        and byte(start) == 0x66
        and byte(start + 1) == 0x69
        and byte(start + 2) == 0x64
    ):
        return ALREADY
    for at in range(start, end):
        if byte(at) == _BACKSLASH:  # it may spell fid
            return UNSURE
    return MEMBER


@njit(cache=True)
def _json_place(start: Number, end: Number, limit: Number) -> tuple[int, int]:
    """Walks one line. A step of the loop is one value, with its comma and key, or one closing."""
    at = _blanks(start, end)
    if at >= end or byte(at) != _OPEN:
        return UNSURE, start
    inside = np.uint64(1)  # a bit for each level: 1 object, 0 array; the lowest is the innermost
    depth = 1
    at += 1
    fresh = True  # just opened: may close at once, needs no comma
    verdict = ONLY_MEMBER
    while depth:
        at = _blanks(at, end)
        if at >= end:
            return UNSURE, start
        is_object = inside & np.uint64(1) == 1
        if byte(at) == (_CLOSE if is_object else _UNBRACKET):
            depth -= 1
            inside >>= np.uint64(1)
            fresh = False
            at += 1
            continue
        if not fresh:
            if byte(at) != _COMMA:
                return UNSURE, start
            at = _blanks(at + 1, end)
        verdict = MEMBER
        if is_object:
            if at >= end or byte(at) != _QUOTE:
                return UNSURE, start
            key = at + 1
            at = _string(key, end, limit)
            if at < 0:
                return UNSURE, start
            if depth == 1:
                said = _outer_key(key, at - 1)
                if said != MEMBER:
                    return said, start
            at = _blanks(at, end)
            if at >= end or byte(at) != _COLON:
                return UNSURE, start
            at = _blanks(at + 1, end)
        if at >= end:
            return UNSURE, start
        if byte(at) == _OPEN or byte(at) == _BRACKET:
            if depth == _DEEPEST:
                return UNSURE, start
            depth += 1
            inside = (inside << np.uint64(1)) | np.uint64(byte(at) == _OPEN)
            fresh = True
            at += 1
            continue
        fresh = False
        at = _scalar(at, end, limit)
        if at < 0:
            return UNSURE, start
    if _blanks(at, end) != end:
        return UNSURE, start
    return verdict, at - 1


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
