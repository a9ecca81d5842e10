"""Planning text files: every record once, whatever becomes of the files between two scans."""

import gzip
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fidelity.config import Stage
from fidelity.errors import SourceError, UnreadableError
from fidelity.sources import files, unseen
from fidelity.sources.filesystem import filesystem
from fidelity.sources.text import read
from fidelity.units import LOOKED, LedgerRow, Tally, Unit

SETTLE = 1_800_000_000
HOUR = 3_600_000_000
EVENT = 1_700_000_000_000_000  # every record's event time in these tests


class Books:
    """A ledger, and the scans that fill it as the real ones do."""

    def __init__(self, *paths: object, after: str | None = None, split: int = 1 << 20) -> None:
        self.stage = Stage(
            name="logs", kind="files", after=after, paths=tuple(str(path) for path in paths)
        )
        self.rows: dict[str, LedgerRow] = {}
        self.records: dict[str, list[bytes]] = {}
        self.split, self.commit, self.units = split, 0, list[Unit]()

    def scan(
        self, settled: bool = False, meanwhile: Callable[[], object] = lambda: None
    ) -> list[bytes]:
        """Plan and read; returns the records that were new. `meanwhile` comes between the two."""
        now = time.time_ns() // 1000 + (2 * SETTLE if settled else 0)
        plan = files.plan(self.stage, list(self.rows.values()), now, SETTLE, self.split)
        self.units = plan.units
        assert len({unit.key for unit in plan.units}) == len(plan.units)
        self.commit += 1
        fresh: list[bytes] = []
        meanwhile()
        for unit in plan.units:
            row, found = self._read(unit, now)
            fresh += found
            self._put(row, found)
        for row in plan.rows:
            self._put(replace(row, commit=self.commit), [])
        looked = Unit(stage="logs", key=LOOKED, kind="stage", path="", start=0, end=0)
        self._put(LedgerRow(looked, "read", "s", now, "d", commit=self.commit), [])
        return fresh

    def _read(self, unit: Unit, now: int) -> tuple[LedgerRow, list[bytes]]:
        reader, found = read(unit, self.stage, 64), list[bytes]()
        try:
            for lines in reader:
                starts, ends = lines.values.starts, lines.values.ends
                found += [lines.buffer[s:e].tobytes() for s, e in zip(starts, ends, strict=True)]
        except UnreadableError as error:
            low, high = unseen(unit, list(self.rows.values()), SETTLE)
            row = LedgerRow(unit, "unreadable", "s", now, "d", reason=str(error))
            return replace(row, unseen_from=low, unseen_to=high, commit=self.commit), []
        tally = Tally(records=len(found), first_event=EVENT, last_event=EVENT)
        done = replace(unit, end=reader.end)
        return LedgerRow(done, "read", "s", now, "d", tally, commit=self.commit), found

    def _put(self, row: LedgerRow, found: list[bytes]) -> None:
        self.rows[row.unit.key] = row
        self.records[row.unit.key] = found

    @property
    def books(self) -> Counter[bytes]:
        """The records of the units that count."""
        return Counter(
            record
            for key, row in self.rows.items()
            if row.status == "read"
            for record in self.records[key]
        )

    def status(self, status: str) -> list[LedgerRow]:
        return [row for row in self.rows.values() if row.status == status]


def lines(*numbers: int, host: str = "h") -> bytes:
    return b"".join(b"record %d of %s\n" % (n, host.encode()) for n in numbers)


def records(*numbers: int, host: str = "h") -> list[bytes]:
    return lines(*numbers, host=host).splitlines()


def append(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(content)


def age(path: Path, hours: int = 10) -> None:
    """Make a file look as if nobody had written to it for hours."""
    past = time.time() - hours * 3600
    os.utime(path, (past, past))


def pack(path: Path, codec: str = "gz") -> Path:
    """Compress a file in place, as rotation does."""
    about, content = path.stat(), path.read_bytes()
    packed = gzip.compress(content) if codec == "gz" else zstandard.compress(content)
    target = path.with_name(f"{path.name}.{codec}")
    target.write_bytes(packed)
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
    path.unlink()
    return target


def rotate(log: Path, codec: str = "") -> Path:
    rotated = log.rename(log.with_name(f"{log.name}.1"))
    return pack(rotated, codec) if codec else rotated


BANNER = b"# this service logs one event a line, and says so at length\n" * 20


def test_a_scan_with_nothing_new_reads_nothing(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.log")
    append(tmp_path / "a.log", lines(1, 2))
    assert books.scan() == records(1, 2)
    assert books.scan() == []
    assert books.units == []


def test_a_file_that_did_not_change_is_not_opened(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.log")
    append(tmp_path / "a.log", lines(1, 2))
    books.scan()
    about = (tmp_path / "a.log").stat()
    (tmp_path / "a.log").write_bytes(b"?" * about.st_size)
    os.utime(tmp_path / "a.log", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert books.scan() == []
    assert books.units == []


def test_a_grown_file_is_read_from_where_it_ended(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.log")
    append(tmp_path / "a.log", lines(1, 2))
    books.scan()
    append(tmp_path / "a.log", lines(3))
    assert books.scan() == records(3)
    assert len({row.unit.file for row in books.rows.values() if row.unit.kind == "text"}) == 1


def test_a_young_file_keeps_its_identity_while_it_grows_past_the_fingerprint(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path / "*.log")
    found = []
    for number in range(200):
        append(tmp_path / "a.log", lines(number))
        found += books.scan()
    assert found == records(*range(200))
    assert len({row.unit.file for row in books.rows.values() if row.unit.kind == "text"}) == 1


def test_an_empty_file_has_no_identity_yet(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.log")
    append(tmp_path / "a.log", b"")
    assert books.scan() == []
    assert set(books.rows) == {LOOKED}
    append(tmp_path / "a.log", lines(1))
    assert books.scan() == records(1)


def test_a_half_last_line_waits_until_the_file_is_still(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.log")
    append(tmp_path / "a.log", lines(1) + b"record 2")
    assert books.scan() == records(1)
    assert books.scan() == []
    assert books.units == []
    append(tmp_path / "a.log", b" of h\nrecord 3")
    assert books.scan() == records(2)
    assert books.scan(settled=True) == [b"record 3"]
    assert books.scan(settled=True) == []
    assert books.units == []


def test_what_follows_a_half_line_that_was_closed_is_no_new_record(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.log")
    append(tmp_path / "a.log", lines(1) + b"record 2")
    assert books.scan(settled=True) == [*records(1), b"record 2"]
    append(tmp_path / "a.log", b" of h\n" + lines(3))
    assert books.scan() == records(3)


@pytest.mark.parametrize("codec", ["", "gz", "zst"])
def test_a_rotated_file_is_not_read_twice(tmp_path: Path, codec: str) -> None:
    books = Books(tmp_path / "a.log*")
    log, rotated = tmp_path / "a.log", tmp_path / "a.log.1"
    append(log, lines(*range(100)))
    books.scan()
    append(log, lines(100) + b"record 101 of h")
    log.rename(rotated)
    append(log, lines(200))
    if codec:
        pack(rotated, codec)
    assert sorted(books.scan(settled=True)) == sorted(records(100, 101, 200))
    assert books.scan(settled=True) == []
    assert books.units == []
    assert not books.status("truncated")


@pytest.mark.parametrize("codec", ["", "gz", "zst"])
def test_a_file_rotated_between_plan_and_read_is_followed(tmp_path: Path, codec: str) -> None:
    books = Books(tmp_path / "a.log*", split=500)
    log = tmp_path / "a.log"
    append(log, BANNER + lines(*range(100)))
    books.scan()
    append(log, lines(*range(100, 200)) + b"record 20")

    def rotated() -> None:
        append(log, b"0 of h\n" + lines(201))
        rotate(log, codec)
        append(log, BANNER + lines(202))

    found = books.scan(meanwhile=rotated)
    assert found[:100] == records(*range(100, 200))  # the half line is whole where it went
    assert not books.status("unreadable")
    found += books.scan()
    assert Counter(found) == Counter([*BANNER.splitlines(), *records(*range(100, 203))])
    assert not books.status("truncated")
    assert books.scan() == []


def test_a_file_truncated_between_plan_and_read_is_unreadable_and_then_told(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path / "a.log*")
    log = tmp_path / "a.log"
    append(log, lines(*range(100)))
    books.scan()
    append(log, lines(100))
    assert books.scan(meanwhile=lambda: log.write_bytes(lines(200))) == []
    assert len(books.status("unreadable")) == 1
    assert books.scan() == records(200)
    assert not books.status("unreadable")
    assert len(books.status("truncated")) == 1


def test_at_a_later_stage_files_put_together_by_compaction_are_counted_once(
    tmp_path: Path,
) -> None:
    for kind in ("plain", "gzip"):
        books = Books(tmp_path / kind / "*", after="source")
        squeeze = gzip.compress if kind == "gzip" else bytes
        parts = [lines(*range(n, n + 100)) for n in (0, 100, 200)]
        for n, part in enumerate(parts):
            append(tmp_path / kind / f"part-{n}.log", squeeze(part))
        books.scan()
        for n in range(3):
            (tmp_path / kind / f"part-{n}.log").unlink()
        append(tmp_path / kind / "all.log", squeeze(b"".join(parts)))
        books.scan()
        assert books.books == Counter(records(*range(300)))
        books.scan()
        assert books.units == []


def test_a_chain_of_rotations_at_once_is_followed(tmp_path: Path) -> None:
    books = Books(tmp_path / "a.log*")
    for number in range(3):
        append(tmp_path / f"a.log{f'.{2 - number}' if number < 2 else ''}", BANNER + lines(number))
    assert len(books.scan()) == 63
    (tmp_path / "a.log.2").rename(tmp_path / "a.log.3")
    pack(tmp_path / "a.log.3")
    (tmp_path / "a.log.1").rename(tmp_path / "a.log.2")
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    append(tmp_path / "a.log", lines(9))
    assert books.scan() == records(9)
    assert not books.status("truncated")


def test_two_hosts_whose_files_begin_alike_stay_two(tmp_path: Path) -> None:
    books = Books(tmp_path / "*" / "a.log*")
    for host in ("h1", "h2"):
        append(tmp_path / host / "a.log", BANNER + lines(1, host=host))
    assert len(books.scan()) == 42
    for host in ("h1", "h2"):
        append(tmp_path / host / "a.log", lines(2, host=host))
        (tmp_path / host / "a.log").rename(tmp_path / host / "a.log.1")
        append(tmp_path / host / "a.log", BANNER)
    expected = [*BANNER.splitlines() * 2, *records(2, host="h1"), *records(2, host="h2")]
    assert Counter(books.scan()) == Counter(expected)
    assert not books.status("truncated")


def test_two_files_of_one_folder_that_are_quite_alike_keep_apart_when_renamed(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path / "*.log*")
    for host in ("host1", "host2"):
        append(tmp_path / f"{host}.log", lines(1))
    assert books.scan() == records(1) * 2
    for host in ("host1", "host2"):
        (tmp_path / f"{host}.log").rename(tmp_path / f"{host}.log.1")
        append(tmp_path / f"{host}.log.1", lines(2, host=host))
    assert books.scan() == [*records(2, host="host1"), *records(2, host="host2")]
    lineages = {row.unit.file: set[str]() for row in books.status("read") if row.unit.file}
    for row in books.status("read"):
        if row.unit.file:
            lineages[row.unit.file].add(Path(row.unit.path).name.partition(".")[0])
    assert sorted(lineages.values(), key=str) == [{"host1"}, {"host2"}]


def test_a_new_file_that_begins_like_one_that_is_long_gone_is_read_whole(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.log")
    append(tmp_path / "a-01.log", BANNER + lines(*range(100)))
    books.scan()
    (tmp_path / "a-01.log").unlink()
    append(tmp_path / "a-02.log", BANNER + lines(*range(100, 300)))
    assert books.scan() == [*BANNER.splitlines(), *records(*range(100, 300))]


def test_a_compressed_file_mistaken_for_another_is_found_out_and_read_whole(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path / "*.log*")
    append(tmp_path / "a-01.log", BANNER + lines(*range(100)))
    books.scan()
    (tmp_path / "a-01.log").unlink()
    append(tmp_path / "a-02.log", BANNER + lines(*range(100, 300)))
    pack(tmp_path / "a-02.log")
    assert books.scan() == []
    assert [row.status for row in books.rows.values() if "taken for" in row.reason] == [
        "unreadable"
    ]
    assert books.scan() == [*BANNER.splitlines(), *records(*range(100, 300))]
    assert not books.status("unreadable")
    assert books.scan() == []
    assert books.units == []


def test_of_several_compressed_files_that_begin_alike_the_right_one_is_read_on(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path / "a.log*")
    for number in range(3):
        append(tmp_path / f"a.log.{3 - number}", BANNER + lines(number))
    books.scan()
    for number in range(3, 0, -1):
        (tmp_path / f"a.log.{number}").rename(tmp_path / f"a.log.{number + 1}")
        pack(tmp_path / f"a.log.{number + 1}")
    append(tmp_path / "a.log.1", BANNER + lines(3))
    pack(tmp_path / "a.log.1")
    assert books.scan() == [*BANNER.splitlines(), *records(3)]
    assert not books.status("unreadable")


def test_copytruncate_with_its_copy_in_sight_loses_nothing(tmp_path: Path) -> None:
    books = Books(tmp_path / "a.log*")
    log = tmp_path / "a.log"
    append(log, lines(*range(100)))
    books.scan()
    append(log, lines(100, 101))
    shutil.copy(log, tmp_path / "a.log.1")
    log.write_bytes(lines(102))
    assert Counter(books.scan()) == Counter(records(100, 101, 102))
    assert books.scan() == []
    assert not books.status("truncated")


def test_a_copy_that_is_being_made_waits_until_its_original_is_gone(tmp_path: Path) -> None:
    books = Books(tmp_path / "a.log*")
    log, copy = tmp_path / "a.log", tmp_path / "a.log.1"
    append(log, lines(*range(100)))
    books.scan()
    append(log, lines(100))
    copy.write_bytes(log.read_bytes()[:1000])
    assert books.scan() == records(100)
    copy.write_bytes(log.read_bytes())
    log.write_bytes(b"")
    assert books.scan() == []
    append(log, lines(101))
    assert books.scan() == records(101)
    assert books.books == Counter(records(*range(102)))


def test_a_file_being_compressed_waits_until_its_original_is_gone(tmp_path: Path) -> None:
    books = Books(tmp_path / "a.log*")
    log = tmp_path / "a.log.1"
    append(log, lines(*range(1000)))
    books.scan()
    packed = gzip.compress(log.read_bytes())
    (tmp_path / "a.log.1.gz").write_bytes(packed[: len(packed) // 2])
    assert books.scan() == []
    assert not books.status("unreadable")
    (tmp_path / "a.log.1.gz").write_bytes(packed)
    log.unlink()
    assert books.scan() == []
    assert books.books == Counter(records(*range(1000)))


def test_a_compressed_file_seen_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.gz")
    packed = gzip.compress(lines(*range(5000)))
    (tmp_path / "a.log.gz").write_bytes(packed[: len(packed) // 2])
    assert books.scan() == []
    assert len(books.status("unreadable")) == 1
    (tmp_path / "a.log.gz").write_bytes(packed)
    assert books.scan() == records(*range(5000))
    assert not books.status("unreadable")


def test_a_compressed_file_that_grows_by_a_member_is_read_on(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.gz")
    append(tmp_path / "a.gz", gzip.compress(lines(*range(100))))
    books.scan()
    append(tmp_path / "a.gz", gzip.compress(lines(100)))
    assert books.scan() == records(100)


def test_a_file_compressed_anew_is_not_read_again(tmp_path: Path) -> None:
    books = Books(tmp_path / "a*")
    (tmp_path / "a.gz").write_bytes(gzip.compress(lines(*range(500)), 1))
    books.scan()
    (tmp_path / "a.gz").write_bytes(gzip.compress(lines(*range(500)), 9))
    assert books.scan() == []
    (tmp_path / "a.gz").unlink()
    (tmp_path / "a.zst").write_bytes(zstandard.compress(lines(*range(501))))
    assert books.scan() == records(500)
    assert not books.status("truncated")


def test_truncation_without_a_copy_is_told_with_the_times_that_may_be_missing(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path / "a.log")
    append(tmp_path / "a.log", lines(1, 2, 3))
    books.scan()
    (tmp_path / "a.log").write_bytes(lines(4))
    assert books.scan() == records(4)
    (note,) = books.status("truncated")
    modified = (tmp_path / "a.log").stat().st_mtime_ns // 1000
    assert (note.unseen_from, note.unseen_to) == (EVENT - SETTLE, modified + 1)
    assert "a.log" in note.reason
    assert books.books == Counter(records(1, 2, 3, 4))
    assert books.scan() == []
    assert len(books.status("truncated")) == 1


def test_truncation_to_nothing_is_told_at_once(tmp_path: Path) -> None:
    books = Books(tmp_path / "a.log")
    append(tmp_path / "a.log", lines(1, 2, 3))
    books.scan()
    (tmp_path / "a.log").write_bytes(b"")
    assert books.scan() == []
    assert len(books.status("truncated")) == 1
    append(tmp_path / "a.log", lines(4))
    assert books.scan() == records(4)


def test_a_truncated_file_that_grew_past_its_old_end_is_not_taken_for_the_old_one(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path / "a.log")
    append(tmp_path / "a.log", BANNER + lines(1, 2, 3))
    books.scan()
    (tmp_path / "a.log").write_bytes(BANNER + lines(*range(50, 90)))
    assert books.scan() == [*BANNER.splitlines(), *records(*range(50, 90))]
    assert len(books.status("truncated")) == 1


def test_the_copy_of_a_truncated_file_that_comes_into_sight_later_is_read_on(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path / "*.log*")
    append(tmp_path / "a.log", lines(1, 2))
    books.scan()
    append(tmp_path / "a.log", lines(3))
    content = (tmp_path / "a.log").read_bytes()
    (tmp_path / "a.log").write_bytes(b"other\n")
    assert books.scan() == [b"other"]
    assert len(books.status("truncated")) == 1
    (tmp_path / "a.log.1").write_bytes(content)
    assert books.scan() == records(3)
    assert not books.status("truncated")


def test_a_source_file_that_vanished_keeps_its_books(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.log")
    append(tmp_path / "a.log", lines(1, 2))
    age(tmp_path / "a.log")
    books.scan()
    (tmp_path / "a.log").unlink()
    assert books.scan() == []
    assert books.books == Counter(records(1, 2))
    assert not books.status("truncated")


def test_a_source_file_that_vanished_while_it_was_written_may_hide_records(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path / "*.log")
    append(tmp_path / "a.log", lines(1, 2))
    books.scan()
    (tmp_path / "a.log").unlink()
    books.scan()
    books.scan()
    (note,) = books.status("truncated")
    assert note.unseen_from == EVENT - SETTLE
    assert note.unseen_to > EVENT
    assert books.books == Counter(records(1, 2))


def test_at_a_later_stage_a_file_that_vanished_leaves_the_books(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.log", after="source")
    append(tmp_path / "a.log", lines(1, 2))
    append(tmp_path / "b.log", lines(3))
    books.scan()
    append(tmp_path / "a.log", lines(4))
    books.scan()
    (tmp_path / "a.log").unlink()
    assert books.scan() == []
    assert books.books == Counter(records(3))
    assert len(books.status("vanished")) == 2
    append(tmp_path / "a.log", lines(1, 2, 4))
    assert books.scan() == records(1, 2, 4)
    assert books.books == Counter(records(1, 2, 3, 4))


def test_at_a_later_stage_a_file_replaced_by_another_is_read_anew(tmp_path: Path) -> None:
    books = Books(tmp_path / "*.log", after="source")
    append(tmp_path / "a.log", lines(1, 2))
    books.scan()
    (tmp_path / "a.log").write_bytes(lines(2, 1, 3))
    assert books.scan() == records(2, 1, 3)
    assert books.books == Counter(records(1, 2, 3))
    assert not books.status("truncated")
    (tmp_path / "a.log").write_bytes(lines(9))
    books.scan()
    books.scan()
    (note,) = books.status("truncated")
    assert note.unseen_from == EVENT
    assert books.books == Counter(records(9))


def test_a_large_file_is_cut_into_units_and_each_record_read_once(tmp_path: Path) -> None:
    books = Books(tmp_path / "a.log", split=100)
    append(tmp_path / "a.log", lines(*range(100)))
    assert books.scan() == records(*range(100))
    assert len(books.units) > 10
    append(tmp_path / "a.log", lines(*range(100, 130)) + b"x" * 250)
    assert books.scan() == records(*range(100, 130))
    append(tmp_path / "a.log", b"\n" + lines(130))
    assert books.scan() == [b"x" * 250, *records(130)]
    assert books.scan(settled=True) == []


def test_a_unit_that_could_not_be_read_is_planned_again_alone(tmp_path: Path) -> None:
    books = Books(tmp_path / "a.log", split=200)
    append(tmp_path / "a.log", lines(*range(100)))
    books.scan()
    key = next(key for key in books.rows if key.endswith(":400"))
    books.rows[key] = replace(books.rows[key], status="unreadable")
    again = books.scan()
    assert [unit.key for unit in books.units] == [key]
    assert 5 < len(again) < 20
    assert books.books == Counter(records(*range(100)))


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_cannot_be_opened_is_unreadable_until_it_can(tmp_path: Path, kind: str) -> None:
    books = Books(tmp_path / "*.log")
    path = tmp_path / "a.log"
    make = {"link": lambda: path.symlink_to("none"), "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path)}  # fmt: skip
    make[kind]()
    append(tmp_path / "b.log", lines(1))
    assert books.scan() == records(1)
    (row,) = books.status("unreadable")
    assert str(path) in row.reason
    assert row.unseen_from == -1
    assert books.scan() == []
    (path.rmdir if kind == "folder" else path.unlink)()
    append(path, lines(2))
    assert books.scan() == records(2)
    assert not books.status("unreadable")


def test_a_known_file_that_cannot_be_opened_any_more_is_unreadable_from_where_it_ended(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path / "*.log")
    path = tmp_path / "a.log"
    append(path, lines(1, 2))
    books.scan()
    content = path.read_bytes()
    path.write_bytes(b"PK\x03\x04 no text at all, and longer than before")
    assert books.scan() == []
    (row,) = books.status("unreadable")
    assert row.unit.start == len(content)
    assert row.unseen_from == EVENT - SETTLE
    assert row.unseen_to == path.stat().st_mtime_ns // 1000 + 1
    path.write_bytes(content + lines(3))
    assert books.scan() == records(3)
    assert not books.status("unreadable")
    assert not books.status("truncated")


def test_a_named_file_must_be_there_unless_it_was_before(tmp_path: Path) -> None:
    books = Books(tmp_path / "a.log")
    with pytest.raises(SourceError, match="no file of that name"):
        books.scan()
    append(tmp_path / "a.log", lines(1))
    books.scan()
    (tmp_path / "a.log").unlink()
    assert books.scan() == []


def test_a_named_file_that_is_gone_stays_an_empty_stage(tmp_path: Path) -> None:
    books = Books(tmp_path / "a.log", after="source")
    append(tmp_path / "a.log", lines(1))
    books.scan()
    (tmp_path / "a.log").unlink()
    for _ in range(3):
        assert books.scan() == []
        assert not books.books


def test_a_small_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.json"
    filesystem(str(target), {}).write(str(target), b"one")
    filesystem(str(target), {}).write(str(target), b"two")
    assert target.read_bytes() == b"two"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        filesystem("", {}).write(str(tmp_path / "folder"), b"x")
    assert sorted(os.listdir(tmp_path)) == ["folder", "new"]


def test_a_plan_does_not_depend_on_the_order_of_the_ledger(tmp_path: Path) -> None:
    books = Books(tmp_path / "*")
    for host in range(6):
        append(tmp_path / f"{host}.log", BANNER + lines(1))
    books.scan()
    for host in range(6):
        (tmp_path / f"{host}.log").rename(tmp_path / f"{5 - host}.log.1")
    now = time.time_ns() // 1000
    rows = list(books.rows.values())
    plans = [files.plan(books.stage, order, now, SETTLE) for order in (rows, rows[::-1])]
    assert plans[0].units == plans[1].units
    assert sorted(plans[0].rows, key=str) == sorted(plans[1].rows, key=str)
    assert not plans[0].units


def test_ten_thousand_known_files_are_planned_in_about_a_second(tmp_path: Path) -> None:
    books = Books(tmp_path / "**" / "*.log")
    for host in range(100):
        (tmp_path / f"h{host}").mkdir()
        for day in range(100):
            (tmp_path / f"h{host}" / f"{day}.log").write_bytes(lines(day, host=f"h{host}"))
    now = time.time_ns() // 1000
    plan = files.plan(books.stage, [], now, SETTLE)
    assert len(plan.units) == 10_000
    ledger = [LedgerRow(unit, "read", "s", now, "d", commit=1) for unit in plan.units]
    start = time.perf_counter()
    again = files.plan(books.stage, ledger, now, SETTLE)
    took = time.perf_counter() - start
    assert again.units == []
    assert again.rows == []
    assert took < 5  # about half a second on an idle machine


class Rotations(RuleBasedStateMachine):
    """Whatever rotation does to the logs of two hosts, each record is in the books once."""

    @initialize(banner=st.booleans(), codec=st.sampled_from(["gz", "zst"]))
    def start(self, banner: bool, codec: str) -> None:
        import tempfile

        self.folder = Path(tempfile.mkdtemp())
        self.banner, self.codec, self.number = BANNER if banner else b"", codec, 0
        self.written: Counter[bytes] = Counter()
        self.half: dict[str, bytes] = {}
        self.books = Books(self.folder / "**" / "a.log*", split=400)
        for host in ("h1", "h2"):
            (self.folder / host).mkdir()

    def log(self, host: str) -> Path:
        return self.folder / host / "a.log"

    def put(self, host: str, content: bytes) -> None:
        path = self.log(host)
        if self.banner and (not path.exists() or not path.stat().st_size):
            append(path, self.banner)
            self.written.update(self.banner.splitlines())
        append(path, content)

    @rule(host=st.sampled_from(["h1", "h2"]), count=st.integers(1, 40))
    def write(self, host: str, count: int) -> None:
        for _ in range(count):
            self.number += 1
            line = b"record %d of the log" % self.number
            half = self.half.pop(host, None)
            self.put(host, (line if half is None else half) + b"\n")
            self.written[line if half is None else self.whole.pop(host)] += 1

    @rule(host=st.sampled_from(["h1", "h2"]))
    def write_half(self, host: str) -> None:
        if host not in self.half:
            self.number += 1
            line = b"record %d of the log" % self.number
            self.put(host, line[:5])
            self.half[host] = line[5:]
            self.whole = {**getattr(self, "whole", {}), host: line}

    def end_line(self, host: str) -> None:
        if host in self.half:
            self.put(host, self.half.pop(host) + b"\n")
            self.written[self.whole.pop(host)] += 1

    @rule(host=st.sampled_from(["h1", "h2"]), copy=st.booleans())
    def rotate(self, host: str, copy: bool) -> None:
        log = self.log(host)
        if not log.exists() or not log.stat().st_size:
            return
        self.end_line(host)
        for number in range(9, 0, -1):
            for old in log.parent.glob(f"a.log.{number}*"):
                suffix = old.name.removeprefix(f"a.log.{number}")
                old.rename(log.with_name(f"a.log.{number + 1}{suffix}"))
        if copy:
            shutil.copy2(log, log.with_name("a.log.1"))
            log.write_bytes(b"")
        else:
            log.rename(log.with_name("a.log.1"))

    @rule(host=st.sampled_from(["h1", "h2"]), number=st.integers(1, 3))
    def compress(self, host: str, number: int) -> None:
        path = self.log(host).with_name(f"a.log.{number}")
        if path.exists():
            pack(path, self.codec)

    @rule(settled=st.booleans())
    def scan(self, settled: bool) -> None:
        self.books.scan(settled=settled and not self.half)
        assert not self.books.status("truncated")
        assert not self.books.status("unreadable")

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        if hasattr(self, "books"):
            assert not self.books.books - self.written

    def teardown(self) -> None:
        if not hasattr(self, "books"):
            return
        for host in list(self.half):
            self.end_line(host)
        self.books.scan(settled=True)
        assert self.books.books == self.written
        self.books.scan(settled=True)
        assert self.books.units == []
        shutil.rmtree(self.folder)


Rotations.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
test_each_record_is_read_once_whatever_rotation_does = Rotations.TestCase
