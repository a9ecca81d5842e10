"""Record batches as bytes: whatever is broken is refused, and nothing is read outside."""

import contextlib
import ctypes
import gzip
import mmap
import random
import struct

import cramjam
import numpy as np
import pytest
from aiokafka.record._crecords.cutil import crc32c_cython
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st
from kafka_records import Record, records_of

from fidelity.errors import UnreadableError
from fidelity.sources import kafka_kernels as kernels
from fidelity.sources.crc32c import crc32c_by_instruction, crc32c_by_table
from fidelity.sources.kafka_batches import BATCH_BYTES, BatchLayout
from fidelity.sources.memory import address

HEADERS = ["fid", "h"]
CODECS = range(5)

Source = list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]

small = st.binary(max_size=200)
sources = st.lists(
    st.tuples(
        st.none() | small,
        st.none() | small,
        st.lists(st.tuples(st.sampled_from(["fid", "h", "x", ""]), st.none() | small), max_size=3),
    ),
    min_size=1,
    max_size=20,
)


def batch(records: Source, codec: int = 0, base: int = 0, begin_ms: int = 1_000) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 24)
    for n, (key, value, headers) in enumerate(records):
        builder.append(n, begin_ms + 7 * n, key, value, headers)
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, base)  # not under the checksum
    return bytes(built)


def resealed(raw: bytes) -> bytes:
    """The batch with the checksum that it now should have."""
    return raw[:17] + struct.pack(">I", crc32c_cython(raw[21:])) + raw[21:]


def parse(response: bytes, start: int = 0, end: int = 1 << 60, check: bool = True) -> list[Record]:
    layout = BatchLayout("t/0", HEADERS, keys=True, check=check)
    size, _ = layout.next_offset(response)
    lines = layout.lines(response, size, start, end, [])
    return [record for one in lines for record in records_of(one)]


def expected(records: Source, base: int = 0) -> list[Record]:
    return [
        Record(
            0,
            base + n,
            key,
            value,
            {h: dict(headers).get(h) for h in HEADERS},
            1_000_000 + 7_000 * n,
        )
        for n, (key, value, headers) in enumerate(records)
    ]


@given(records=sources, codec=st.sampled_from(CODECS), base=st.integers(0, 2**50))
def test_what_was_packed_is_read(records: Source, codec: int, base: int) -> None:
    assert parse(batch(records, codec, base)) == expected(records, base)


@given(records=sources, start=st.integers(0, 25), end=st.integers(0, 25), cut=st.integers(0, 80))
def test_only_the_asked_offsets_are_read_and_a_cut_off_batch_is_left(
    records: Source, start: int, end: int, cut: int
) -> None:
    after = batch(records, base=100)
    response = batch(records) + batch(records, 1, base=40) + after[: min(cut, len(after) - 1)]
    held = expected(records) + expected(records, 40)
    assert parse(response, start, end) == [one for one in held if start <= one.offset < end]


@pytest.mark.parametrize(
    ("magic", "codec"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)]
)
def test_the_old_formats_are_read(magic: int, codec: int) -> None:
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=1 << 20)
    values = [None, b"", b"value" * 50]
    for n, value in enumerate(values):
        builder.append(n, timestamp=2_000 + n, key=b"k", value=value)
    old = bytes(builder.build())
    if codec:  # a broker writes the last record's offset around compressed ones
        old = struct.pack(">q", 2) + old[8:]
    records = parse(old + batch([(None, b"new", [])], base=3))
    assert [record.value for record in records] == [*values, b"new"]
    assert [record.offset for record in records] == [0, 1, 2, 3]
    stamps = [-1, -1, -1] if magic == 0 else [2_000_000, 2_001_000, 2_002_000]
    assert [record.timestamp for record in records[:3]] == stamps
    assert [record.offset for record in parse(old, 1, 2)] == [1]
    with pytest.raises(UnreadableError):
        parse(old[:-3] + b"xyz")


@given(records=sources, codec=st.sampled_from(CODECS), data=st.data())
def test_one_flipped_bit_under_the_checksum_is_unreadable_not_short(
    records: Source, codec: int, data: st.DataObject
) -> None:
    raw = bytearray(batch(records, codec))
    at = data.draw(st.integers(17, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(UnreadableError, match="checksum"):
        parse(bytes(raw))


@given(records=sources, codec=st.sampled_from(CODECS), data=st.data())
def test_whatever_is_broken_is_told_as_unreadable_even_if_the_checksum_agrees(
    records: Source, codec: int, data: st.DataObject
) -> None:
    raw = bytearray(batch(records, codec))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for check, mangled in ((False, bytes(raw)), (True, resealed(bytes(raw)))):
        with contextlib.suppress(UnreadableError):  # or well-formed by chance, or cut off
            assert len(parse(mangled, check=check)) <= len(records)


def test_a_batch_that_claims_more_records_than_it_has_bytes_is_unreadable() -> None:
    raw = bytearray(batch([(None, b"x", [])]))
    struct.pack_into(">i", raw, 23, 2**31 - 1)  # last offset
    struct.pack_into(">i", raw, 57, 2**31 - 1)  # records
    with pytest.raises(UnreadableError, match="broken"):
        parse(resealed(bytes(raw)))


def test_a_batch_with_fewer_records_than_its_bytes_is_unreadable() -> None:
    raw = bytearray(batch([(None, b"x", []), (None, b"y", [])]))
    struct.pack_into(">i", raw, 57, 1)
    with pytest.raises(UnreadableError, match="broken"):
        parse(resealed(bytes(raw)))


def test_unknown_codecs_and_formats_are_unreadable() -> None:
    raw = bytearray(batch([(None, b"x", [])]))
    raw[22] = 7
    with pytest.raises(UnreadableError, match="unknown codec 7"):
        parse(resealed(bytes(raw)))
    raw[16] = 3
    with pytest.raises(UnreadableError):
        parse(bytes(raw))


def test_truncated_compressed_data_is_unreadable_not_short() -> None:
    records: Source = [(None, b"%d" % n * 30, []) for n in range(100)]
    for codec in (1, 2, 3, 4):
        raw = bytearray(batch(records, codec))
        for cut in (1, 5, 40):
            short = raw[:-cut]
            struct.pack_into(">i", short, 8, len(short) - 12)
            with pytest.raises(UnreadableError):
                parse(resealed(bytes(short)))


def test_snappy_is_read_raw_and_framed() -> None:
    records: Source = [(b"k", b"%d" % n * 300, []) for n in range(2_000)]
    plain = batch(records)
    body = plain[61:]
    blocks = [
        bytes(cramjam.snappy.compress_raw(body[i : i + 32768])) for i in range(0, len(body), 32768)
    ]
    head = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    framed = head + b"".join(struct.pack(">i", len(block)) + block for block in blocks)
    half = len(blocks) // 2
    twice = head + b"".join(struct.pack(">i", len(b)) + b for b in blocks[:half])
    twice += head + b"".join(struct.pack(">i", len(b)) + b for b in blocks[half:])
    for packed in (bytes(cramjam.snappy.compress_raw(body)), framed, twice):
        raw = bytearray(plain[:61] + packed)
        raw[22] = 2
        struct.pack_into(">i", raw, 8, len(raw) - 12)
        assert parse(resealed(bytes(raw))) == expected(records)


def test_timestamps_out_of_all_reason_do_not_overflow() -> None:
    stamps = (2**62, -(2**62), 253_402_300_799_000, -1)
    found = [parse(batch([(None, b"x", [])], begin_ms=ms))[0].timestamp for ms in stamps]
    assert found == [(2**63 - 1) // 1000 * 1000, -1, 253_402_300_799_000_000, -1]


def test_both_checksums_are_the_known_one() -> None:
    raw = np.frombuffer(random.Random(0).randbytes(300), np.uint8)
    place = address(raw)
    for start in range(9):
        for end in (start, start + 1, start + 7, start + 8, start + 9, 300):
            known = crc32c_cython(raw[start:end].tobytes())
            assert crc32c_by_instruction(place + start, place + end) == known
            assert crc32c_by_table(place + start, place + end) == known
    nine = np.frombuffer(b"123456789", np.uint8)
    assert crc32c_by_table(address(nine), address(nine) + 9) == 0xE3069283


class Guarded:
    """Memory that ends where no one may read: one byte too far ends the process."""

    def __init__(self) -> None:
        self.pages = mmap.mmap(-1, 5 * mmap.PAGESIZE)
        self.view = np.frombuffer(self.pages, np.uint8)
        self.end = address(self.view) + 4 * mmap.PAGESIZE
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        assert libc.mprotect(self.end, mmap.PAGESIZE, 0) == 0

    def put(self, raw: bytes) -> int:
        """Place the bytes right before the guard; their address."""
        ctypes.memmove(self.end - len(raw), raw, len(raw))
        return self.end - len(raw)


def test_no_broken_batch_makes_a_kernel_read_outside() -> None:
    guarded, chance = Guarded(), random.Random(5)
    for _ in range(20_000):
        raw = bytearray(_random_response(chance))
        for _ in range(chance.randrange(5)):
            where = chance.choice([chance.randrange(len(raw)), chance.randrange(min(len(raw), 75))])
            raw[where] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        cut = bytes(raw[: chance.choice([len(raw), chance.randrange(len(raw) + 1)])])
        _run_all(guarded.put(cut), len(cut), chance)


def _random_response(chance: random.Random) -> bytes:
    records: Source = [
        (
            chance.choice([None, b"key"]),
            chance.choice([None, b"", b"value"]),
            chance.choice([[], [("fid", b"1234")], [("h", None), ("fid", b"")]]),
        )
        for _ in range(chance.randrange(1, 5))
    ]
    return batch(records) + (batch(records, base=50) if chance.random() < 0.5 else b"")


def _run_all(place: int, length: int, chance: random.Random) -> None:
    """Every kernel over the bytes as they are, as if they were plain records in the arena."""
    rows = np.empty((16, kernels.BATCH_COLUMNS), np.int64)
    status, size, _ = kernels.whole(place, place + length)
    assert 0 <= size <= length
    if status != kernels.OK:
        return
    pids = np.array([-1, 5], np.int64)
    status, n, _ = kernels.batches(
        place,
        0,
        size,
        0,
        1 << 60,
        chance.random() < 0.2,
        pids,
        pids + 1,
        np.zeros(2, np.uint8),
        rows,
    )
    regions = np.empty((16, 2), np.int64)
    for i in range(n):
        regions[i] = (
            rows[i, kernels.AT] + kernels.HEADER_BYTES,
            rows[i, kernels.AT] + rows[i, kernels.SIZE],
        )
        if rows[i, kernels.MAGIC] != 2:
            return
    count = kernels.records_in(rows, regions, 0, n)
    if count < 0:
        return
    columns = np.empty((kernels.RECORD_COLUMNS + 4, count + 1), np.int64)
    names = np.frombuffer(b"fidh", np.uint8)
    for ends in (np.array([3, 4], np.int64), np.empty(0, np.int64)):
        status, filled = kernels.layout(
            place, rows, regions, 0, n, 0, 1 << 60, address(names), ends, columns
        )
        if status == kernels.OK:
            assert filled <= count
            wanted = range(kernels.RECORD_COLUMNS + 1, kernels.RECORD_COLUMNS + 2 * len(ends), 2)
            for column in (kernels.ENDS, *wanted):
                assert columns[column, :filled].max(initial=0) <= length


def test_random_bytes_are_refused_or_empty() -> None:
    chance = random.Random(9)
    for _ in range(300):
        raw = chance.randbytes(chance.randrange(400))
        with contextlib.suppress(UnreadableError):
            assert parse(raw) == []
    assert parse(gzip.compress(b"not a batch at all" * 10)[:11]) == []


def test_what_is_worked_on_outlives_the_two_steps_before_it() -> None:
    layout = BatchLayout("t/0", HEADERS, keys=True, check=True)
    sources: list[Source] = [[(b"k", b"%05d" % n * (BATCH_BYTES // 5 + 1), [])] for n in range(5)]
    response = b"".join(batch(source, base=n) for n, source in enumerate(sources))
    size, end = layout.next_offset(response)
    unpacking = layout.unpacked(response, size, 0, end, [])
    here = layout.laid_out(next(unpacking))
    after, _being_unpacked = layout.laid_out(next(unpacking)), next(unpacking)
    for n, lines in enumerate((here, after)):
        assert records_of(lines) == expected(sources[n], base=n)
