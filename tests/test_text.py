"""Reading text units: the same records whatever the cuts and the buffer."""

import gzip
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fidelity.config import Stage
from fidelity.errors import UnreadableError
from fidelity.sources.compression import codec_of, head_of
from fidelity.sources.fingerprint import Fingerprint, taken
from fidelity.sources.text import LONGEST, TextReader, read
from fidelity.units import Unit

STAGE = Stage(name="source", kind="files")
Record = tuple[int, bytes | int]


def unit_of(path: Path, start: int = 0, end: int | None = None, closed: bool = False) -> Unit:
    """A unit as the plan would make it of the file as it is now."""
    size = path.stat().st_size
    with pa.OSFile(str(path), "rb") as raw:
        codec = codec_of(raw.read_at(6, 0))
        try:
            print_ = taken(head_of(raw, codec, size), raw, codec, size)
        except OSError:
            print_ = Fingerprint("", 0)
    return Unit(
        stage="source",
        key=f"f:{start}",
        kind="text",
        path=str(path),
        start=start,
        end=(-1 if codec else size) if end is None else end,
        size=size,
        version=f"{size}:{1_700_000_000_000_000}",
        fingerprint=str(print_),
        fingerprint_bytes=print_.head_bytes,
        closed=closed,
    )


def records_of(reader: TextReader) -> list[Record]:
    """(position, line), or (position, true length) of a line over the limit."""
    found: list[Record] = []
    for lines in reader:
        assert (lines.arrivals == 1_700_000_000_000_000).all()
        for i in range(len(lines)):
            start, end = int(lines.values.starts[i]), int(lines.values.ends[i])
            place, size = int(lines.positions[i]), int(lines.sizes[i])
            if start == -2:
                assert end == -2
                found.append((place, size))
            else:
                assert size == end - start
                found.append((place, lines.buffer[start:end].tobytes()))
    return found


def model(content: bytes, closed: bool, longest: int) -> list[Record]:
    """What a file holds, said in plain Python."""
    found: list[Record] = []
    place = 0
    pieces = content.split(b"\n")
    for i, piece in enumerate(pieces):
        last = i == len(pieces) - 1
        line = piece.removesuffix(b"\r")
        blank = len(line) <= longest and not line.strip(b" \t")
        if place == 0 and len(line) <= longest and line.startswith(b"\xef\xbb\xbf"):
            line, blank = line[3:], len(line) == 3
        if not blank and (not last or closed):
            found.append((place, len(line) if len(line) > longest else line))
        place += len(piece) + 1
    return found


texts = st.lists(
    st.sampled_from(
        [
            *(b"\n", b"\r\n", b"\r", b"a", b"bc", b"0123456789", b" ", b"\t", b"\0"),
            *(b"\xef\xbb\xbf", b'{"x":1}\n', b"x" * 40),
        ]
    ),
    max_size=60,
).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(
    texts,
    st.lists(st.integers(0, 300), max_size=4),
    st.integers(4, 40),
    st.integers(5, 60),
    st.booleans(),
)
@example(b"\xef\xbb\xbfa\n", [1, 2], 4, 5, False)
def test_records_do_not_depend_on_cuts_or_buffer(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    cuts: list[int],
    batch: int,
    longest: int,
    closed: bool,
) -> None:
    path = tmp_path_factory.mktemp("text") / "a.log"
    path.write_bytes(content)
    if not content:
        return
    edges = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    found: list[Record] = []
    for start, end in pairwise(edges):
        reader = read(unit_of(path, start, end, closed), STAGE, batch, longest)
        found += records_of(reader)
        assert start <= reader.end <= end
    assert found == model(content, closed, longest)


@settings(max_examples=150, deadline=None)
@given(texts, st.lists(st.integers(0, 300), min_size=1, max_size=5), st.integers(4, 40))
def test_a_file_that_grows_gives_each_record_once(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, sizes: list[int], batch: int
) -> None:
    path = tmp_path_factory.mktemp("text") / "a.log"
    found: list[Record] = []
    reached = 0
    for size in [*sorted(sizes), len(content)]:
        path.write_bytes(content[:size])
        if content[:size]:
            reader = read(unit_of(path, reached), STAGE, batch, 50)
            found += records_of(reader)
            reached = reader.end
    assert found == model(content, False, 50)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@settings(max_examples=60, deadline=None)
@given(texts, st.integers(0, 300), st.integers(0, 300), st.integers(4, 40))
def test_compressed_text_in_several_members_reads_like_plain_text(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    content: bytes,
    cut: int,
    member: int,
    batch: int,
) -> None:
    path = tmp_path_factory.mktemp("text") / "a.log"
    packed = gzip.compress if kind == "gzip" else zstandard.ZstdCompressor().compress
    path.write_bytes(packed(content[:member]) + packed(content[member:]))
    if not content:
        return
    cut = min(cut, len(content))
    found: list[Record] = []
    if cut:
        found = records_of(read(unit_of(path, 0, cut, closed=True), STAGE, batch, 50))
    rest = read(unit_of(path, cut, closed=True), STAGE, batch, 50)
    assert found + records_of(rest) == model(content, True, 50)
    assert rest.end == len(content)


def test_a_half_last_line_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\nthr")
    reader = read(unit_of(path), STAGE)
    assert records_of(reader) == [(0, b"one"), (4, b"two")]
    assert reader.end == 8


def test_a_half_last_line_of_a_closed_file_is_a_record(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\nthr")
    reader = read(unit_of(path, closed=True), STAGE)
    assert records_of(reader) == [(0, b"one"), (4, b"two"), (8, b"thr")]
    assert reader.end == 11


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("missing", [1, 5, 9, 2000])
def test_a_truncated_compressed_file_is_unreadable_not_short(
    tmp_path: Path, pack: object, missing: int
) -> None:
    path = tmp_path / "a.log.gz"
    packed = pack(b"".join(b"%d line\n" % (i * 7919) for i in range(5000)))  # type: ignore[operator]
    path.write_bytes(packed[:-missing])
    with pytest.raises(UnreadableError, match="runcated"):
        records_of(read(unit_of(path), STAGE))


def test_a_damaged_compressed_file_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.log.gz"
    packed = bytearray(gzip.compress(b"".join(b"%d line\n" % (i * 7919) for i in range(5000))))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(UnreadableError, match=r"a\.log\.gz"):
        records_of(read(unit_of(path), STAGE))


def test_bytes_after_the_last_gzip_member_make_the_file_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.log.gz"
    path.write_bytes(gzip.compress(b"one\n") + b"two\n")
    with pytest.raises(UnreadableError):
        records_of(read(unit_of(path), STAGE))


def test_a_file_that_became_shorter_after_the_plan_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\n")
    unit = unit_of(path)
    path.write_bytes(b"one\n")
    with pytest.raises(UnreadableError, match="4 bytes shorter"):
        records_of(read(unit, STAGE))


def test_a_file_replaced_after_the_plan_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\n")
    unit = unit_of(path)
    path.write_bytes(b"another file\n")
    with pytest.raises(UnreadableError, match="not the file"):
        records_of(read(unit, STAGE))


def test_a_file_that_is_gone_after_the_plan_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\n")
    unit = unit_of(path)
    path.unlink()
    with pytest.raises(UnreadableError, match="is not there"):
        records_of(read(unit, STAGE))


def test_what_a_file_grows_by_after_the_plan_is_left_for_the_next_scan(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntw")
    unit = unit_of(path)
    path.write_bytes(b"one\ntwo\nthree\n")
    reader = read(unit, STAGE)
    assert records_of(reader) == [(0, b"one")]
    assert reader.end == 4


def test_nul_bytes_are_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"\0\0\0\na\0b\n")
    assert records_of(read(unit_of(path), STAGE)) == [(0, b"\0\0\0"), (4, b"a\0b")]


def test_a_line_of_fifty_megabytes_is_a_record_among_others(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    long = b"x" * 50_000_000
    path.write_bytes(b"one\n" + long + b"\ntwo\n")
    found = records_of(read(unit_of(path), STAGE))
    assert [place for place, _ in found] == [0, 4, 50_000_005]
    assert found[1][1] == long
    assert found[2][1] == b"two"


def test_a_line_over_the_limit_is_measured_without_being_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with path.open("wb") as file:
        file.write(b"one\n")
        for _ in range(200):
            file.write(b"x" * (1 << 20))
        file.write(b"\r\ntwo\n")
    unit = unit_of(path)
    tracemalloc.start()
    found = records_of(read(unit, STAGE))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [(0, b"one"), (4, 200 << 20), (6 + (200 << 20), b"two")]
    assert peak < 2.5 * LONGEST
