"""The record batches of a Kafka fetch response, laid out as columns: no Python object a record.

Everything read here came over a network and may be broken: every kernel checks every length
against the end of its region before it reads, and answers with a status instead of reading on.
Record batch format v2: https://kafka.apache.org/documentation/#recordbatch
"""

import numpy as np
from numba import njit

from fidelity.sources.crc32c import crc32c

OK, BROKEN, BAD_CRC = 0, 1, 2
"""What a kernel found."""

AT, SIZE, BASE, LAST, ATTRIBUTES, BASE_TIME, MAX_TIME, COUNT, MAGIC = range(9)
BATCH_COLUMNS = 9
"""Columns of a batch: place and length in the response, offsets, attributes, times (ms), count."""

HEADER_BYTES = 61  # of a v2 batch, before its records
_PREFIX = 12  # offset and length; `length` counts what follows
_LEGACY_SMALLEST = 14  # crc, magic, attributes, key length, value length
_RECORD_SMALLEST = 7  # a record has seven varints at least
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20

STARTS, ENDS, OFFSETS, ARRIVALS, SIZES, KEY_STARTS, KEY_ENDS = range(7)
RECORD_COLUMNS = 7
"""Columns of a record; two more for each wanted header, start and end of its value."""

_LARGEST_MS = (2**63 - 1) // 1000


@njit(cache=True, inline="always")
def _int16(buffer, at):  # type: ignore[no-untyped-def]
    return np.int64(np.int16((np.int64(buffer[at]) << 8) | np.int64(buffer[at + 1])))


@njit(cache=True, inline="always")
def _int32(buffer, at):  # type: ignore[no-untyped-def]
    value = np.int64(0)
    for i in range(4):
        value = (value << 8) | np.int64(buffer[at + i])
    return np.int64(np.int32(value))


@njit(cache=True, inline="always")
def _int64(buffer, at):  # type: ignore[no-untyped-def]
    value = np.int64(0)
    for i in range(8):
        value = (value << 8) | np.int64(buffer[at + i])
    return value


@njit(cache=True, inline="always")
def _varint(buffer, at, end):  # type: ignore[no-untyped-def]
    """A zigzag varint: (value, place after it); place -1 if it does not end before `end`."""
    if at >= end:
        return np.int64(0), np.int64(-1)
    byte = np.uint64(buffer[at])
    if byte < np.uint64(128):  # most are one byte long
        return np.int64(byte >> np.uint64(1)) ^ -np.int64(byte & np.uint64(1)), at + 1
    raw = byte & np.uint64(0x7F)
    shift = np.uint64(7)
    for i in range(1, 10):
        if at + i >= end:
            break
        byte = np.uint64(buffer[at + i])
        raw |= (byte & np.uint64(0x7F)) << shift
        shift += np.uint64(7)
        if byte < np.uint64(128):
            return np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1)), at + i + 1
    return np.int64(0), np.int64(-1)


@njit(cache=True, nogil=True)
def whole(response):  # type: ignore[no-untyped-def]
    """How far a response's whole batches go.

    Returns (status, bytes, next): the bytes that whole batches take, and the offset after the
    last of them, -1 if there is none. What follows them is a batch that was cut off.
    """
    at, n, following = np.int64(0), np.int64(len(response)), np.int64(-1)
    while at + _PREFIX + _LEGACY_SMALLEST <= n:
        length = _int32(response, at + 8)
        magic = response[at + 16]
        smallest = HEADER_BYTES - _PREFIX if magic >= 2 else _LEGACY_SMALLEST
        if length < smallest or magic > 2:
            return BROKEN, at, following
        if length > n - at - _PREFIX:
            break
        last = _int64(response, at)
        if magic == 2:
            last += _int32(response, at + 23)
        following = last + 1
        at += _PREFIX + length
    return OK, at, following


@njit(cache=True, nogil=True)
def batches(response, at, n, start, end, check, pids, firsts, states, rows):  # type: ignore[no-untyped-def]
    """The batches in response[at:n] that hold records to be read, as rows (BATCH_COLUMNS).

    Args:
        at, n: where to go on, and the end of the whole batches as told by `whole`.
        start, end: offsets; batches that lie outside are left out.
        check: verify checksums.
        pids, firsts: the response's aborted transactions, producer and first offset.
        states: uint8, one for each: 0 not begun, 1 open, 2 over; kept from call to call.
        rows: int64[capacity, BATCH_COLUMNS], filled.

    Returns (status, rows filled, place to go on from; of the broken batch, if one is).
    """
    filled = np.int64(0)
    while at < n and filled < len(rows):
        size = _PREFIX + _int32(response, at + 8)
        magic = np.int64(response[at + 16])
        base = _int64(response, at)
        last, attributes = base, np.int64(0)
        if magic == 2:
            if check and crc32c(response, at + 21, at + size) != np.uint64(
                _int32(response, at + 17) & 0xFFFFFFFF
            ):
                return BAD_CRC, filled, at
            attributes = _int16(response, at + 21)
            last = base + _int32(response, at + 23)
            if last < base or base < 0:
                return BROKEN, filled, at
            if _is_aborted(response, at, size, attributes, last, pids, firsts, states):
                at += size
                continue
        # A compressed v0 or v1 message is told by its last offset: only its end is known here.
        begins_late = base >= end and (magic == 2 or response[at + 17] & _CODEC == 0)
        if attributes & _CONTROL or last < start or begins_late:
            at += size
            continue
        row = rows[filled]
        row[AT], row[SIZE], row[BASE], row[LAST] = at, size, base, last
        row[ATTRIBUTES], row[MAGIC] = attributes, magic
        row[BASE_TIME], row[MAX_TIME], row[COUNT] = -1, -1, -1
        if magic == 2:
            row[BASE_TIME] = _int64(response, at + 27)
            row[MAX_TIME] = _int64(response, at + 35)
            row[COUNT] = _int32(response, at + 57)
            if row[COUNT] < 0 or row[COUNT] > last - base + 1:
                return BROKEN, filled, at
        filled += 1
        at += size
    return OK, filled, at


@njit(cache=True)
def _is_aborted(response, at, size, attributes, last, pids, firsts, states):  # type: ignore[no-untyped-def]
    """Whether a batch belongs to an aborted transaction; keeps `states` up to date."""
    if len(pids) == 0:
        return False
    pid = _int64(response, at + 43)
    inside = False
    for i in range(len(pids)):
        if states[i] == 0 and firsts[i] <= last:
            states[i] = 1
        if states[i] == 1 and pids[i] == pid:
            inside = True
    if inside and attributes & _CONTROL and _is_abort_marker(response, at, size):
        for i in range(len(pids)):
            if states[i] == 1 and pids[i] == pid:
                states[i] = 2
        return True
    return inside and attributes & _TRANSACTIONAL != 0 and attributes & _CONTROL == 0


@njit(cache=True)
def _is_abort_marker(response, at, size):  # type: ignore[no-untyped-def]
    """Whether a control batch ends a transaction by an abort: its key is (version, type 0)."""
    end = at + size
    place = at + HEADER_BYTES
    _, place = _varint(response, place, end)
    if place < 0:
        return False
    place += 1  # attributes
    for _ in range(3):  # time, offset, length of the key
        if place >= 0:
            length, place = _varint(response, place, end)
    return place >= 0 and length >= 4 and place + 4 <= end and _int16(response, place + 2) == 0


@njit(cache=True, nogil=True)
def copy_plain(response, rows, first, n, arena, used, limit, regions):  # type: ignore[no-untyped-def]
    """Copy the records of consecutive uncompressed v2 batches to the arena.

    Stops at the first compressed or old batch, when the arena holds `limit` bytes, or when the
    next one would not fit. regions[i] becomes the place of rows[i]'s records in the arena.
    Returns (rows done, bytes used).
    """
    i = first
    while i < n and used < limit:
        if rows[i, MAGIC] != 2 or rows[i, ATTRIBUTES] & _CODEC:
            break
        start, size = rows[i, AT] + HEADER_BYTES, rows[i, SIZE] - HEADER_BYTES
        if used + size > len(arena):
            break
        arena[used : used + size] = response[start : start + size]
        regions[i, 0], regions[i, 1] = used, used + size
        used += size
        i += 1
    return i, used


@njit(cache=True, nogil=True)
def records_in(rows, regions, first, n):  # type: ignore[no-untyped-def]
    """How many records rows[first:n] claim; -1 if that is more than their bytes can hold."""
    total = np.int64(0)
    for i in range(first, n):
        if rows[i, COUNT] * _RECORD_SMALLEST > regions[i, 1] - regions[i, 0]:
            return np.int64(-1)
        total += rows[i, COUNT]
    return total


@njit(cache=True, nogil=True)
def layout(arena, rows, regions, first, n, start, end, names, name_ends, columns):  # type: ignore[no-untyped-def]
    """Lay out the records of rows[first:n] as columns (RECORD_COLUMNS and two a header).

    Args:
        start, end: offsets; records outside are left out.
        names, name_ends: the wanted headers' names, one after the other, and where each ends.
        columns: int64[RECORD_COLUMNS + 2 * headers, capacity], with room for `records_in`.

    Of a header that occurs twice, the last one counts. Returns (status, records laid out; with
    BROKEN the index of the broken row).
    """
    filled = np.int64(0)
    for i in range(first, n):
        at, stop = regions[i, 0], regions[i, 1]
        append_time = rows[i, ATTRIBUTES] & _APPEND_TIME != 0
        for _ in range(rows[i, COUNT]):
            length, at = _varint(arena, at, stop)
            if at < 0 or length < 0 or length > stop - at:
                return BROKEN, i
            record_end = at + length
            time_delta, at = _varint(arena, at + 1, record_end)
            if at < 0:
                return BROKEN, i
            offset_delta, at = _varint(arena, at, record_end)
            if at < 0 or offset_delta < 0 or offset_delta > rows[i, LAST] - rows[i, BASE]:
                return BROKEN, i
            key_start, key_end, at = _bytes(arena, at, record_end)
            if at < 0:
                return BROKEN, i
            value_start, value_end, at = _bytes(arena, at, record_end)
            if at < 0:
                return BROKEN, i
            offset = rows[i, BASE] + offset_delta
            if start <= offset < end:
                columns[STARTS, filled] = value_start
                columns[ENDS, filled] = value_end
                columns[OFFSETS, filled] = offset
                ms = rows[i, MAX_TIME] if append_time else rows[i, BASE_TIME] + time_delta
                columns[ARRIVALS, filled] = min(ms, _LARGEST_MS) * 1000 if ms >= 0 else -1
                columns[SIZES, filled] = (key_end - key_start) + (value_end - value_start)
                columns[KEY_STARTS, filled] = key_start
                columns[KEY_ENDS, filled] = key_end
                if len(name_ends) and not _headers(
                    arena, at, record_end, names, name_ends, columns, filled
                ):
                    return BROKEN, i
                filled += 1
            at = record_end
        if at != stop:
            return BROKEN, i
    return OK, filled


@njit(cache=True, inline="always")
def _bytes(arena, at, end):  # type: ignore[no-untyped-def]
    """A length and that many bytes: (start, end, place after). Null is -1, -1; broken: place -1."""
    length, at = _varint(arena, at, end)
    if at < 0 or length > end - at:
        return np.int64(-1), np.int64(-1), np.int64(-1)
    if length < 0:
        return np.int64(-1), np.int64(-1), at
    return at, at + length, at + length


@njit(cache=True)
def _headers(arena, at, end, names, name_ends, columns, record):  # type: ignore[no-untyped-def]
    """Note where the wanted headers' values are. False if they are broken."""
    for k in range(len(name_ends)):
        columns[RECORD_COLUMNS + 2 * k, record] = -1
        columns[RECORD_COLUMNS + 2 * k + 1, record] = -1
    count, at = _varint(arena, at, end)
    if at < 0 or count < 0:
        return False
    for _ in range(count):
        name_start, name_end, at = _bytes(arena, at, end)
        if at < 0 or name_start < 0:
            return False
        value_start, value_end, at = _bytes(arena, at, end)
        if at < 0:
            return False
        wanted_start = np.int64(0)
        for k in range(len(name_ends)):
            if _same(arena, name_start, name_end, names, wanted_start, name_ends[k]):
                columns[RECORD_COLUMNS + 2 * k, record] = value_start
                columns[RECORD_COLUMNS + 2 * k + 1, record] = value_end
            wanted_start = name_ends[k]
    return True


@njit(cache=True, inline="always")
def _same(one, start, end, other, other_start, other_end):  # type: ignore[no-untyped-def]
    if end - start != other_end - other_start:
        return False
    for i in range(end - start):  # noqa: SIM110 -- numba has no generator expressions
        if one[start + i] != other[other_start + i]:
            return False
    return True
