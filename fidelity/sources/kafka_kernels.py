"""The record batches of a Kafka fetch response, laid out as columns: no Python object a record.

Everything read here came over a network and may be broken: every kernel checks every length
against the end of its region before it reads, and answers with a status instead of reading on.
Bytes are told by address. Format: https://kafka.apache.org/documentation/#recordbatch
"""

import numpy as np
from numba import njit

from fidelity.sources.crc32c import crc32c
from fidelity.sources.memory import byte

OK, BROKEN, BAD_CRC = 0, 1, 2
"""What a kernel found."""

AT, SIZE, BASE, LAST, ATTRIBUTES, BASE_TIME, MAX_TIME, COUNT, MAGIC = range(9)
BATCH_COLUMNS = 9
"""Columns of a batch: place and length in the response, offsets, attributes, times (ms), count."""

STARTS, ENDS, OFFSETS, ARRIVALS, SIZES, KEY_STARTS, KEY_ENDS = range(7)
RECORD_COLUMNS = 7
"""Columns of a record; two more for each wanted header, start and end of its value."""

HEADER_BYTES = 61  # of a v2 batch, before its records
_PREFIX = 12  # offset and length; `length` counts what follows
_LEGACY_SMALLEST = 14  # crc, magic, attributes, key length, value length
_RECORD_SMALLEST = 7  # a record has seven varints at least
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_LARGEST_MS = (2**63 - 1) // 1000


@njit(cache=True)
def _big_endian(at, size):  # type: ignore[no-untyped-def]
    value = np.uint64(0)
    for i in range(size):
        value = (value << np.uint64(8)) | byte(at + i)
    return value


@njit(cache=True)
def _int16(at):  # type: ignore[no-untyped-def]
    return np.int64(np.int16(_big_endian(at, 2)))


@njit(cache=True)
def _int32(at):  # type: ignore[no-untyped-def]
    return np.int64(np.int32(_big_endian(at, 4)))


@njit(cache=True)
def _int64(at):  # type: ignore[no-untyped-def]
    return np.int64(_big_endian(at, 8))


@njit(cache=True)
def _varint(at, end):  # type: ignore[no-untyped-def]
    """A zigzag varint: (value, address after it); address -1 if it does not end before `end`."""
    if at >= end:
        return np.int64(0), np.int64(-1)
    one = byte(at)
    raw = one & np.uint64(0x7F)
    if one >= np.uint64(0x80):  # most are one byte long
        shift = np.uint64(0)
        while one >= np.uint64(0x80):
            at += 1
            shift += np.uint64(7)
            if at >= end or shift > np.uint64(63):
                return np.int64(0), np.int64(-1)
            one = byte(at)
            raw |= (one & np.uint64(0x7F)) << shift
    return np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1)), at + 1


@njit(cache=True)
def _bytes(at, end):  # type: ignore[no-untyped-def]
    """A length and that many bytes: (start, end, address after). Null is 0, 0; broken: after -1."""
    length, at = _varint(at, end)
    if at < 0 or length > end - at:
        return np.int64(0), np.int64(0), np.int64(-1)
    if length < 0:
        return np.int64(0), np.int64(0), at
    return at, at + length, at + length


@njit(cache=True, nogil=True)
def whole(start, end):  # type: ignore[no-untyped-def]
    """How far the whole batches of a response, the bytes [start, end), go.

    Returns (status, bytes, next): the bytes that whole batches take, and the offset after the
    last of them, -1 if there is none. What follows them is a batch that was cut off.
    """
    at, following = start, np.int64(-1)
    while at + _PREFIX + _LEGACY_SMALLEST <= end:
        length, magic = _int32(at + 8), byte(at + 16)
        smallest = HEADER_BYTES - _PREFIX if magic == 2 else _LEGACY_SMALLEST
        if length < smallest or magic > 2:
            return BROKEN, at - start, following
        if length > end - at - _PREFIX:
            break
        last = _int64(at)
        if magic == 2:
            last += _int32(at + 23)
        if last + 1 <= following:  # offsets only ever rise
            return BROKEN, at - start, following
        following = last + 1
        at += _PREFIX + length
    return OK, at - start, following


@njit(cache=True, nogil=True)
def batches(response, done, size, start, end, check, pids, firsts, states, rows):  # type: ignore[no-untyped-def]
    """The batches of a response that hold records to be read, as rows (BATCH_COLUMNS).

    Args:
        response: address of the response, `size` its bytes as told by `whole`.
        done: how many bytes of it earlier calls have done.
        start, end: offsets; batches that lie outside are left out.
        check: verify checksums.
        pids, firsts: the response's aborted transactions, producer and first offset.
        states: uint8, one for each: 0 not begun, 1 open, 2 over; kept from call to call.
        rows: int64[capacity, BATCH_COLUMNS], filled.

    Returns (status, rows filled, bytes done; of the broken batch, if one is, where it begins).
    """
    filled = np.int64(0)
    at, stop = response + done, response + size
    while at < stop and filled < len(rows):
        length = _PREFIX + _int32(at + 8)
        magic = np.int64(byte(at + 16))
        base = _int64(at)
        last, attributes = base, np.int64(0)
        if magic == 2:
            if check and crc32c(at + 21, at + length) != _big_endian(at + 17, 4):
                return BAD_CRC, filled, at - response
            attributes = _int16(at + 21)
            last = base + _int32(at + 23)
            if last < base or base < 0:
                return BROKEN, filled, at - response
            if len(pids) and _is_aborted(at, length, attributes, last, pids, firsts, states):
                at += length
                continue
        # A compressed v0 or v1 message is told by its last offset: only its end is known here.
        begins_late = base >= end and (magic == 2 or byte(at + 17) & np.uint64(_CODEC) == 0)
        if attributes & _CONTROL or last < start or begins_late:
            at += length
            continue
        rows[filled, AT], rows[filled, SIZE] = at - response, length
        rows[filled, BASE], rows[filled, LAST] = base, last
        rows[filled, ATTRIBUTES], rows[filled, MAGIC] = attributes, magic
        rows[filled, BASE_TIME], rows[filled, MAX_TIME], rows[filled, COUNT] = -1, -1, -1
        if magic == 2:
            rows[filled, BASE_TIME], rows[filled, MAX_TIME] = _int64(at + 27), _int64(at + 35)
            rows[filled, COUNT] = _int32(at + 57)
            if rows[filled, COUNT] < 0 or rows[filled, COUNT] > last - base + 1:
                return BROKEN, filled, at - response
        filled += 1
        at += length
    return OK, filled, at - response


@njit(cache=True)
def _is_aborted(at, length, attributes, last, pids, firsts, states):  # type: ignore[no-untyped-def]
    """Whether a batch belongs to an aborted transaction; keeps `states` up to date."""
    pid = _int64(at + 43)
    inside = False
    for i in range(len(pids)):
        if states[i] == 0 and firsts[i] <= last:
            states[i] = 1
        if states[i] == 1 and pids[i] == pid:
            inside = True
    if inside and attributes & _CONTROL and _is_abort_marker(at + HEADER_BYTES, at + length):
        for i in range(len(pids)):
            if states[i] == 1 and pids[i] == pid:
                states[i] = 2
    return inside and attributes & _TRANSACTIONAL != 0 and attributes & _CONTROL == 0


@njit(cache=True)
def _is_abort_marker(at, end):  # type: ignore[no-untyped-def]
    """Whether a control record ends a transaction by an abort: its key is (version, type 0)."""
    _, at = _varint(at, end)
    if at < 0:
        return False
    _, at = _varint(at + 1, end)  # after the attributes: the time
    if at < 0:
        return False
    _, at = _varint(at, end)
    if at < 0:
        return False
    key, key_end, at = _bytes(at, end)
    return at >= 0 and key_end - key >= 4 and _int16(key + 2) == 0


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
    """Lay out the records of rows[first:n], whose bytes are at arena + regions, as columns.

    Args:
        arena: its address.
        start, end: offsets; records outside are left out.
        names, name_ends: address of the wanted headers' names, one after the other, and where each
            ends.
        columns: int64[RECORD_COLUMNS + 2 * headers, capacity], with room for `records_in`.

    Returns (status, records laid out; with BROKEN the index of the broken row).
    """
    filled = np.int64(0)
    for i in range(first, n):
        at, stop = arena + regions[i, 0], arena + regions[i, 1]
        base, span = rows[i, BASE], rows[i, LAST] - rows[i, BASE]
        base_time, append_time = rows[i, BASE_TIME], np.int64(-1)
        if rows[i, ATTRIBUTES] & _APPEND_TIME:
            append_time = rows[i, MAX_TIME]
        for _ in range(rows[i, COUNT]):
            length, at = _varint(at, stop)
            if at < 0 or length < 0 or length > stop - at:
                return BROKEN, i
            record_end = at + length
            since, at = _varint(at + 1, record_end)  # after the attributes, which mean nothing
            if at < 0:
                return BROKEN, i
            offset, at = _varint(at, record_end)
            if at < 0 or offset < 0 or offset > span:
                return BROKEN, i
            key, key_end, at = _bytes(at, record_end)
            if at < 0:
                return BROKEN, i
            value, value_end, at = _bytes(at, record_end)
            if at < 0:
                return BROKEN, i
            if start <= base + offset < end:
                columns[STARTS, filled] = value - arena if value else -1
                columns[ENDS, filled] = value_end - arena if value else -1
                columns[OFFSETS, filled] = base + offset
                ms = append_time if append_time >= 0 else base_time + since
                columns[ARRIVALS, filled] = min(ms, _LARGEST_MS) * 1000 if ms >= 0 else -1
                columns[SIZES, filled] = (key_end - key) + (value_end - value)
                columns[KEY_STARTS, filled] = key - arena if key else -1
                columns[KEY_ENDS, filled] = key_end - arena if key else -1
                if len(name_ends) and not _headers(
                    arena, at, record_end, names, name_ends, columns, filled
                ):
                    return BROKEN, i
                filled += 1
            at = record_end
        if at != stop:
            return BROKEN, i
    return OK, filled


@njit(cache=True)
def _headers(arena, at, end, names, name_ends, columns, record):  # type: ignore[no-untyped-def]
    """Note where the values of a record's wanted headers are; False if they are broken.

    Of a header that occurs twice, the last one counts; one that is null or not there is -1.
    """
    for k in range(2 * len(name_ends)):
        columns[RECORD_COLUMNS + k, record] = -1
    count, at = _varint(at, end)
    if at < 0 or count < 0:
        return False
    for _ in range(count):
        name, name_end, at = _bytes(at, end)
        if at < 0:
            return False
        value, value_end, at = _bytes(at, end)
        if at < 0:
            return False
        wanted = np.int64(0)
        for k in range(len(name_ends)):
            if _same(name, name_end, names + wanted, names + name_ends[k]):
                columns[RECORD_COLUMNS + 2 * k, record] = value - arena if value else -1
                columns[RECORD_COLUMNS + 2 * k + 1, record] = value_end - arena if value else -1
            wanted = name_ends[k]
    return True


@njit(cache=True)
def _same(one, one_end, other, other_end):  # type: ignore[no-untyped-def]
    if one_end - one != other_end - other:
        return False
    for i in range(one_end - one):  # noqa: SIM110 -- numba has no generator expressions
        if byte(one + i) != byte(other + i):
            return False
    return True
