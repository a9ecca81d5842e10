"""Files that are broken in every way: what can be read is counted exactly, the rest is unknown."""

import gzip
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audits import LAKE, SOURCE, START, Folder, line, lines

pytestmark = pytest.mark.usefixtures("engine")

PARQUET = LAKE.replace("after:", "record: {format: parquet}, after:")
WHOLE = lines()
BYTES = b"".join(WHOLE)
ALL = (60, 60, 0, 0, 0, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """60 records at the source, none in the lake."""
    folder = Folder(tmp_path)
    folder.put("source/a", WHOLE)
    return folder


# Lines


BROKEN = {
    "a byte that is no UTF-8": b'{"ts":"\xff\xfe","a":1}\n',
    "half a line": WHOLE[0][:40] + b"\n",
    "NUL bytes": b"\0" * 100 + b"\n",
    "a NUL in a record": WHOLE[0].replace(b"h1", b"h\x001"),
    "an array": b"[1, 2]\n",
    "a number": b"42\n",
    "a string": b'"x"\n',
    "null": b"null\n",
    "NaN": b"NaN\n",
    "a leading zero": b'{"a":01}\n',
    "two records in one line": WHOLE[0].strip() + WHOLE[0],
    "an endless nesting": b"[" * 5000 + b"\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_a_flaw_and_nothing_but_it_is_missing(
    folder: Folder, broken: bytes
) -> None:
    folder.put("lake/a", [*WHOLE[:30], broken, *WHOLE[30:]])
    found = folder.audit(0)
    assert found.counts() == ALL
    assert found.flaws("lake") == {"malformed": 1}
    assert found.told("flaws") == "1 record is malformed at lake, 1 more than at source."


UNUSABLE = {
    "unstamped": [
        b"{}\n", line(0, fid=None), line(0, fid="0123456"), line(0, fid="012345678"),
        line(0, fid="0x123456"), line(0, fid=-1), line(0, fid=1 << 32), line(0, fid=1.5),
        line(0, fid=True), line(0, fid=["00000000"]), line(0, fid=""), line(0, fid="zzzzzzzz"),
    ],
    "untimed": [line(0, ts=None), line(0, ts=""), line(0, ts={"a": 1}), line(0, ts="yesterday")],
    "unattributed": [
        line(0, type=""), line(0, host=None), line(0, host=["h1"]), line(0, host="h" * 1025),
    ],
}  # fmt: skip


def test_a_record_of_wrong_types_is_a_flaw_of_its_kind(folder: Folder) -> None:
    folder.put("lake/a", [*WHOLE, *(each for group in UNUSABLE.values() for each in group)])
    found = folder.audit(0)
    assert found.counts() == ALL
    assert found.flaws("lake") == {kind: len(group) for kind, group in UNUSABLE.items()}


def test_of_a_member_that_is_given_twice_one_value_counts_and_the_record_once(
    folder: Folder,
) -> None:
    twice = b'{"fid":"00000000",' + WHOLE[30][1:]
    folder.put("lake/a", [*WHOLE[:30], twice, *WHOLE[31:]])
    found = folder.audit(1)
    assert found.books()["observed"] == 60
    assert found.counts() in (ALL, (60, 59, 1, 0, 0, 1))


def test_line_ends_marks_and_blank_lines_change_nothing(folder: Folder) -> None:
    crlf = BYTES.replace(b"\n", b"\r\n")
    folder.put(
        "lake/a", b"\xef\xbb\xbf" + crlf[: len(crlf) // 2 + 20] + crlf[len(crlf) // 2 + 20 :]
    )
    assert folder.audit(0).counts() == ALL
    folder.put("lake/b", b"\xef\xbb\xbf\n\n \r\n\t\n")
    found = folder.audit(0)
    assert found.counts() == ALL
    assert found.flaws("lake") == {}


def test_a_line_of_50_megabytes_counts_and_one_of_70_is_malformed(folder: Folder) -> None:
    def padded(size: int) -> bytes:
        return b'{"x":"' + b"y" * (size << 20) + b'",' + WHOLE[30][1:]

    folder.put("lake/a", [*WHOLE[:30], padded(50), padded(70), *WHOLE[31:]])
    found = folder.audit(0)
    assert found.counts() == ALL
    assert found.flaws("lake") == {"malformed": 1}


@pytest.mark.parametrize("stage", ["source", "lake"])
def test_a_last_line_without_a_newline_is_unknown_until_its_file_is_still(
    folder: Folder, stage: str
) -> None:
    folder.put("lake/a", WHOLE)
    path = folder.put(f"{stage}/a", BYTES[:-1])
    found = folder.audit(1)
    assert found.verdict == "unknown"
    assert found.books()["lost"] == 0
    assert "1 file of " + stage in found.told("waiting")
    assert folder.audit(1).verdict == "unknown"
    os.utime(path, (START.timestamp() + 3600, START.timestamp() + 3600))
    assert folder.audit(0).counts() == ALL


def test_only_half_a_line_at_the_end_is_unknown_and_then_malformed(folder: Folder) -> None:
    folder.put("lake/a", WHOLE)
    path = folder.put("lake/b", b'{"ts": "2026-03-01T10:')
    assert folder.audit(1).verdict == "unknown"
    os.utime(path, (START.timestamp() + 3600, START.timestamp() + 3600))
    found = folder.audit(0)
    assert found.flaws("lake") == {"malformed": 1}
    assert found.counts() == ALL


# Whole files


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "a gzip file cut off": (gzip.compress(BYTES)[:-20], "Truncated compressed stream"),
    "a gzip file of a wrong checksum": (
        gzip.compress(BYTES)[:-8] + b"\1\2\3\4\5\6\7\10", "incorrect data check",
    ),
    "garbage after a gzip file": (gzip.compress(BYTES) + b"garbage", "incorrect header check"),
    "a gzip file of a header only": (gzip.compress(BYTES)[:12], "Truncated"),
    "a Parquet file": (b"PAR1" + b"x" * 99 + b"PAR1", "is a Parquet file, not lines of text"),
    "a zip archive": (b"PK\3\4" + b"x" * 99, "is a zip archive"),
    "a bzip2 file": (b"BZh91AY&SY" + b"x" * 99, "bzip2, which is not read"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_is_unknown_and_its_neighbours_count(
    folder: Folder, content: bytes, why: str
) -> None:
    folder.put("source/b", lines(10, "h2"))
    folder.put("lake/a", content)
    folder.put("lake/b", lines(10, "h2"))
    found = folder.audit(1)
    assert found.verdict == "unknown"
    assert found.counts() == (70, 10, 0, 60, 0, 0)
    assert why in found.told("unreadable")
    assert f"{folder.path}/lake/a" in found.told("unreadable")


def test_a_source_file_that_cannot_be_read_makes_what_arrived_no_stranger(folder: Folder) -> None:
    folder.put("source/a", gzip.compress(BYTES)[:-20])
    folder.put("lake/a", WHOLE)
    found = folder.audit(1)
    assert found.verdict == "unknown"
    folder.put("source/a", gzip.compress(BYTES))  # mended
    assert folder.audit(0).counts() == ALL


def test_no_name_says_what_a_file_is(folder: Folder) -> None:
    folder.put("source/a", b"")
    folder.put("source/a.log", gzip.compress(BYTES))
    folder.put("lake/a.gz", BYTES)
    folder.put("lake/empty.jsonl", b"")
    assert folder.audit(0).counts() == ALL


def test_utf_16_is_malformed_line_by_line(folder: Folder) -> None:
    folder.put("lake/a", BYTES.decode().encode("utf-16") + b"\n")
    found = folder.audit(1)
    assert found.verdict == "fail"
    assert found.counts() == (60, 0, 60, 0, 0, 0)
    assert found.flaws("lake")["malformed"] >= 60


# Parquet


def table(**columns: Any) -> pa.Table:
    """The records as a table, with some columns replaced (None: left out)."""
    records = [json.loads(each) for each in WHOLE]
    times = [datetime.fromisoformat(each["ts"]) for each in records]
    whole = {
        "fid": pa.array([int(each["fid"], 16) for each in records], pa.uint32()),
        "ts": pa.array(times, pa.timestamp("us", "UTC")),
        "type": pa.array([each["type"] for each in records]),
        "host": pa.array([each["host"] for each in records]),
    }
    return pa.table({name: of for name, of in (whole | columns).items() if of is not None})


@pytest.fixture
def parquet(folder: Folder) -> Folder:
    """The lake is of Parquet."""
    folder.configure(SOURCE, PARQUET)
    return folder


def _cut(content: bytes) -> bytes:
    return content[:-300]


def _swapped(content: bytes) -> bytes:
    return content[:4] + b"\xff" * (len(content) - 8) + content[-4:]


@pytest.mark.parametrize(
    "damage", [_cut, _swapped, lambda _: b"", lambda _: b"PAR1", lambda _: BYTES]
)
def test_a_corrupt_parquet_file_is_unknown(
    parquet: Folder, damage: Callable[[bytes], bytes]
) -> None:
    path = parquet.path / "lake/a.parquet"
    pq.write_table(table(), path)
    path.write_bytes(damage(path.read_bytes()))
    found = parquet.audit(1)
    assert found.verdict == "unknown"
    assert found.counts() == (60, 0, 0, 60, 0, 0)
    assert "no Parquet file that can be read" in found.told("unreadable")


def written(columns: pa.Table, **how: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(columns, sink, **how)
    return bytes(sink.getvalue())


def changed(content: bytes, before: bytes, after: bytes) -> bytes:
    """With the last place of these bytes changed, which must be there."""
    head, found, tail = content.rpartition(before)
    assert found
    return head + after + tail


def _two_hosts() -> pa.Table:
    return table(host=pa.array(["h1"] * 30 + ["h2"] * 30))


# Parquet's numbers are zigzag varints: 20 rows are 0x28, and 0x27 is -20. A run of 30 equal codes
# is 0x3c and the code. A page of data is of type 0, and one of an unknown type is passed over.
ODD: dict[str, tuple[Callable[[], bytes], str]] = {
    "a name of another column that is no UTF-8": (
        lambda: written(table(note=pa.nulls(60, pa.string())), store_schema=False).replace(
            b"note", b"not\xe9"
        ),
        "a name in it is not UTF-8",
    ),
    "two columns of one name": (
        lambda: written(table().append_column("host", pa.array(["h9"] * 60))),
        "The column `host` is there twice.",
    ),
    "codes beyond their dictionary": (
        lambda: changed(
            written(_two_hosts(), compression="none"), b"\1\x3c\0\x3c\1", b"\x08\x3c\0\x3c\7"
        ),
        "The column `host` is damaged",
    ),
    "a row group of less than no rows": (
        lambda: changed(written(table(), row_group_size=20), b"\x16\x28\x26", b"\x16\x27\x26"),
        "its row groups do not add up to its rows",
    ),
    "columns that end early": (
        lambda: written(table(), row_group_size=20).replace(b"\x15\0\x15", b"\x15\1\x15"),
        "its columns have not as many rows as its footer tells",
    ),
}


@pytest.mark.parametrize(("content", "why"), ODD.values(), ids=ODD)
def test_an_odd_parquet_file_is_unknown_and_its_neighbours_count(
    parquet: Folder, content: Callable[[], bytes], why: str
) -> None:
    parquet.put("lake/a.parquet", content())
    pq.write_table(table().slice(10, 20), parquet.path / "lake/b.parquet")
    found = parquet.audit(1)
    assert found.verdict == "unknown"
    assert found.counts() == (60, 20, 0, 40, 0, 0)
    assert why in found.told("unreadable")


def test_columns_that_are_there_twice_do_not_matter_if_nobody_asks_for_them(
    parquet: Folder,
) -> None:
    more = pa.nulls(60, pa.string())
    content = written(table().append_column("note", more).append_column("note", more))
    parquet.put("lake/a.parquet", content)
    assert parquet.audit(0).counts() == ALL


WRONG = {
    "no id": ({"fid": None}, "There is no column `fid`; there is ts, type, host."),
    "no origin": ({"host": None}, "There is no column `host`"),
    "ids are fractions": ({"fid": pa.array([0.5] * 60)}, "of type double, which is no id"),
    "ids are lists": ({"fid": pa.array([[1]] * 60)}, "which is no id"),
    "times of day": ({"ts": pa.array([START.time()] * 60)}, "which is no time"),
    "origins are structs": ({"host": pa.array([{"a": 1}] * 60)}, "which is no origin"),
}


@pytest.mark.parametrize(("columns", "why"), WRONG.values(), ids=WRONG)
def test_a_column_of_a_wrong_type_makes_its_file_unknown(
    parquet: Folder, columns: dict[str, Any], why: str
) -> None:
    pq.write_table(table(**columns), parquet.path / "lake/a.parquet")
    found = parquet.audit(1)
    assert found.counts() == (60, 0, 0, 60, 0, 0)
    assert why in found.told("unreadable")
    assert "Say under `record:` which column holds it" in found.told("unreadable")


def test_null_ids_are_unstamped_and_a_parquet_file_needs_no_ending(parquet: Folder) -> None:
    ids = table().column("fid").to_pylist()
    pq.write_table(
        table(fid=pa.array([None] * 30 + ids[30:], pa.uint32())), parquet.path / "lake/a.jsonl"
    )
    found = parquet.audit(1)
    assert found.counts() == (60, 30, 30, 0, 0, 0)
    assert found.flaws("lake") == {"unstamped": 30}


# Nothing at all


def test_an_empty_sink_is_a_total_loss_and_fails(folder: Folder) -> None:
    folder.put("lake/a", b"")
    found = folder.audit(1)
    assert found.verdict == "fail"
    assert found.counts() == (60, 0, 60, 0, 0, 0)
    assert "60 records are lost" in found.told("lost")
    assert found.told("empty").startswith("lake was looked at, and no record is there: ")


def test_a_sink_that_no_file_matches_fails_as_well(folder: Folder) -> None:
    assert folder.audit(1).verdict == "fail"


def test_records_that_an_empty_source_does_not_have_are_unexpected(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.put("lake/a", WHOLE)
    found = folder.audit(1)
    assert found.verdict == "fail"
    assert found.counts() == (0, 0, 0, 0, 0, 60)


def test_nothing_anywhere_is_unknown_and_never_pass(tmp_path: Path) -> None:
    found = Folder(tmp_path).audit(1)
    assert found.verdict == "unknown"
    kinds = [(each["kind"], each["stage"]) for each in found.report["findings"]]
    assert kinds == [("empty", "source"), ("empty", "lake")]


# Manifests


def claimed(
    runs: list[list[int]], start: str = "10:00", end: str = "10:10", day: str = ""
) -> bytes:
    claim = {"manifest": 1, "stream": "access", "origin": "h1", "runs": runs, "bytes": 9}
    day = day or "2026-03-01"
    return (
        json.dumps({**claim, "start": f"{day}T{start}Z", "end": f"{day}T{end}Z"}).encode() + b"\n"
    )


CLAIMS = [claimed([[0, 20]]), claimed([[20, 20]], "10:10", "10:20"),
          claimed([[40, 20]], "10:20", "10:30")]  # fmt: skip


@pytest.mark.parametrize(
    "broken",
    [
        b'{"manifest":1,"str\n', b"\xff\n", claimed([[0, -1]]), claimed([[0]]),
        claimed([[0, 1]], "10:10", "10:00"), claimed([[0, 1]], day="1969-12-31"),
    ],
)  # fmt: skip
def test_a_manifest_line_that_is_not_understood_leaves_every_window_unknown(
    tmp_path: Path, broken: bytes
) -> None:
    folder = Folder(tmp_path, SOURCE.replace("files", "manifests"), LAKE)
    folder.put("source/m", [*CLAIMS, broken])
    folder.put("lake/a", [*WHOLE, *lines(3, "h9")])  # which the broken line may have claimed
    found = folder.audit(1)
    assert found.verdict == "unknown"
    assert found.books()["delivered"] == 60
    assert "what was produced besides is unknown" in found.told("flaws")


def test_what_is_claimed_and_missing_is_lost_whatever_else_may_be_claimed(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SOURCE.replace("files", "manifests"), LAKE)
    folder.put("source/m", [*CLAIMS, b"garbage\n"])
    folder.put("lake/a", WHOLE[:-1])
    found = folder.audit(1)
    assert found.verdict == "fail"
    assert found.counts() == (60, 59, 1, 0, 0, 0)
