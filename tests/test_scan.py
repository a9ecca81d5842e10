"""Scan: what is new is read once, whatever comes in between, and what was not seen says so."""

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scans import LATER, append, books, data_files, in_force, lines, opened, pipeline, records

from fidelity import scheduler
from fidelity.config import Pipeline, Place, RecordSpec
from fidelity.config.model import ENGINE_VARIABLE
from fidelity.errors import ConfigError, StoreError
from fidelity.scan import scan
from fidelity.scheduler import grouped
from fidelity.store import Store, merging
from fidelity.units import LOOKED, LedgerRow, Unit

pytestmark = pytest.mark.usefixtures("engine")


def read_rows(store: Store, stage: str = "source") -> list[LedgerRow]:
    return [row for row in store.ledger(stage) if row.status == "read" and row.unit.key != LOOKED]


def fresh(made: Pipeline) -> list[dict[str, object]]:
    """What a store that never was before has in force after one scan."""
    other = made.model_copy(update={"store": made.store + "-fresh"})
    store = opened(other)
    scan(other, store, as_of=LATER)
    return in_force(store)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for origin in ("h1", "h2", "h3"):
        append(tmp_path / "source" / f"{origin}.jsonl", lines(origin, 0, 500))
    return tmp_path


def test_a_scan_counts_every_record_once(logs: Path) -> None:
    made = pipeline(logs)
    store = opened(made)
    result = scan(made, store)
    assert (result.stages[0].units, result.stages[0].records, result.errors) == (3, 1500, ())
    assert records(store) == 1500
    # 500 records of 3 s each are 25 minutes, so 3 windows of one stream.
    assert [row["records"] for row in in_force(store)] == [600, 600, 300]


def test_only_what_is_new_is_read(logs: Path) -> None:
    made = pipeline(logs)
    store = opened(made)
    scan(made, store)
    before = (logs / "source" / "h2.jsonl").stat().st_size
    append(logs / "source" / "h2.jsonl", lines("h2", 500, 100))
    append(logs / "source" / "h4.jsonl", lines("h4", 0, 50))
    result = scan(made, store)
    assert (result.stages[0].units, result.stages[0].records) == (2, 150)
    new = {(row.unit.start, row.tally.records) for row in read_rows(store) if row.commit == 2}
    assert new == {(before, 100), (0, 50)}
    assert in_force(store) == fresh(made)


def test_a_scan_with_nothing_new_reads_nothing_and_says_that_it_looked(logs: Path) -> None:
    made = pipeline(logs)
    store = opened(made)
    scan(made, store)
    files, version = data_files(store), store.observations_table.open().version()
    result = scan(made, store, as_of=LATER)
    assert (result.stages[0].units, result.stages[0].records) == (0, 0)
    assert (data_files(store), store.observations_table.open().version()) == (files, version)
    looked = [row for row in store.ledger("source") if row.unit.key == LOOKED]
    assert [(row.scanned_at, row.commit) for row in looked] == [(LATER, 2)]


def test_the_sums_do_not_depend_on_tasks_workers_and_commits(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pipeline(logs)
    expected = fresh(made)
    monkeypatch.setattr(scheduler, "TINY", 0)
    monkeypatch.setattr(scheduler, "SMALLEST_TASK", 1)
    store = opened(made)
    scan(made, store, workers=2)
    assert in_force(store) == expected


@pytest.mark.parametrize("few", [True, False])
def test_what_many_tasks_wrote_is_put_into_one_file_if_it_is_little(
    logs: Path, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    made = pipeline(logs, source="", sink="source/*.jsonl")
    expected = fresh(made)
    monkeypatch.setattr(scheduler, "TINY", 0)
    monkeypatch.setattr(scheduler, "SMALLEST_TASK", 1)
    monkeypatch.setattr(merging, "_AT_ONCE", merging._AT_ONCE if few else 1)
    store = opened(made)
    scan(made, store, workers=2)
    assert in_force(store) == expected
    assert len(data_files(store)) == (2 if few else 6)  # of 3 files at either stage


def test_units_that_never_leave_the_books_are_kept_as_one(logs: Path) -> None:
    made = pipeline(logs, source="", sink="source/*.jsonl")
    store = opened(made)
    scan(made, store)
    rows = store.observations().to_table().group_by("stage").aggregate([([], "count_all")])
    # 3 windows; at a later stage each file's observations may yet have to go.
    assert sorted(rows.to_pylist(), key=str) == [
        {"stage": "sink", "count_all": 9},
        {"stage": "source", "count_all": 3},
    ]
    assert len(data_files(store)) == 2


def test_a_file_that_vanishes_leaves_the_books_of_a_later_stage_but_not_of_the_source(
    logs: Path,
) -> None:
    made = pipeline(logs, source="", sink="sink/*.jsonl")
    append(logs / "sink" / "a.jsonl", lines("h1", 0, 100))
    append(logs / "sink" / "b.jsonl", lines("h2", 0, 100))
    store = opened(made)
    scan(made, store, as_of=LATER)
    (logs / "sink" / "a.jsonl").unlink()
    (logs / "source" / "h1.jsonl").unlink()
    result = scan(made, store, as_of=LATER)
    assert [row.status for row in result.stages[1].noted] == ["vanished"]
    assert records(store) == 1500 + 100


def test_an_unreadable_unit_counts_for_nothing_until_it_can_be_read(logs: Path) -> None:
    made = pipeline(logs, source="source/*")
    whole = gzip.compress(lines("h9", 0, 3000))
    path = logs / "source" / "h9.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    store = opened(made)
    result = scan(made, store)
    assert [row.unit.path for row in result.stages[0].unreadable] == [str(path)]
    assert result.stages[0].unreadable[0].reason
    assert records(store) == 1500
    path.write_bytes(whole)
    assert scan(made, store).stages[0].unreadable == ()
    assert records(store) == 4500
    assert in_force(store) == fresh(made)


def test_a_stage_that_cannot_be_listed_does_not_keep_the_others_from_being_scanned(
    logs: Path,
) -> None:
    made = pipeline(logs, source="", sink="nowhere/deeper/*.jsonl")
    (logs / "nowhere").write_text("a file")
    store = opened(made)
    result = scan(made, store)
    assert [stage.error is None for stage in result.stages] == [True, False]
    assert records(store) == 1500
    looked = [(row.unit.key, row.status) for row in store.ledger("sink")]
    assert looked == [(LOOKED, "unreadable")]


def test_only_the_named_stages_are_scanned(logs: Path) -> None:
    made = pipeline(logs, source="", sink="source/*.jsonl")
    store = opened(made)
    scan(made, store, stages=["sink"])
    assert store.ledger("source") == []
    assert records(store) == 1500


def test_another_record_spec_is_refused(logs: Path) -> None:
    made = pipeline(logs)
    store = opened(made)
    scan(made, store)
    changed = RecordSpec(format="json", stream=Place(constant="other"))
    stage = made.stages[0].model_copy(update={"record": changed})
    with pytest.raises(ConfigError, match="another `record:`"):
        scan(made.model_copy(update={"stages": (stage,)}), store)
    with pytest.raises(ConfigError, match="another `record:`"):
        scan(made.model_copy(update={"window": 60_000_000}), store)
    assert records(store) == 1500


class Intruder:
    """Another scan, which comes in between our plan and our commit, as often as it is told to."""

    def __init__(self, made: Pipeline, store: Store, prepare: list[object]) -> None:
        self.made, self.store, self.prepare = made, store, prepare

    def __call__(self, *_: object) -> None:
        if self.prepare:
            step = self.prepare.pop()
            if callable(step):
                step()
            scan(self.made, self.store)


def test_of_two_scans_at_once_the_later_counts_nothing_twice(logs: Path) -> None:
    made = pipeline(logs)
    store = opened(made)
    result = scan(made, store, progress=Intruder(made, store, [None]))
    assert store.frontier("source") == 2
    assert result.stages[0].records == 0
    assert in_force(store) == fresh(made)
    assert len(data_files(store)) == 1


def test_the_later_of_two_scans_keeps_what_is_still_new(logs: Path) -> None:
    made = pipeline(logs)
    store = opened(made)
    hidden = logs / "h3.jsonl"
    (logs / "source" / "h3.jsonl").rename(hidden)
    scan(made, store)
    append(logs / "source" / "h1.jsonl", lines("h1", 500, 70))
    hidden.rename(logs / "source" / "h3.jsonl")

    def hide() -> None:
        (logs / "source" / "h3.jsonl").rename(hidden)

    class Back(Intruder):
        def __call__(self, *told: object) -> None:
            super().__call__(*told)
            if hidden.exists():
                hidden.rename(logs / "source" / "h3.jsonl")

    # We plan h1's end and h3; meanwhile another scan reads h1's end, and does not see h3.
    result = scan(made, store, progress=Back(made, store, [hide]))
    assert store.frontier("source") == 3
    assert (result.stages[0].units, result.stages[0].records) == (1, 500)
    assert in_force(store) == fresh(made)


def test_scans_come_in_between_again_and_again(logs: Path) -> None:
    made = pipeline(logs)
    store = opened(made)

    def grow() -> None:
        append(logs / "source" / "h1.jsonl", lines("h1", 500 + 10 * len(left), 10))

    left: list[object] = [grow] * 4
    scan(made, store, progress=Intruder(made, store, left))
    scan(made, store)
    assert in_force(store) == fresh(made)


SCAN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from scans import opened, pipeline
from fidelity.scan import scan
made = pipeline(Path({folder!r}))
for _ in range(5):
    scan(made, opened(made))
"""


def test_scans_of_many_processes_at_once_count_everything_once(logs: Path) -> None:
    made = pipeline(logs)
    code = SCAN.format(tests=str(Path(__file__).parent), folder=str(logs))
    local = {**os.environ, ENGINE_VARIABLE: "local"}  # a session in each takes too long
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=local)
        for _ in range(2)
    ]
    number = 0
    while any(process.poll() is None for process in processes):
        append(logs / "source" / "h1.jsonl", lines("h1", 500 + number, 1))
        number += 1
    assert [process.communicate()[1] for process in processes] == [b""] * 2
    store = opened(made)
    scan(made, store)
    assert records(store) == 1500 + number
    # A file is as old as when it was read, so lags differ.
    assert [each | {"lag": []} for each in in_force(store)] == [
        each | {"lag": []} for each in fresh(made)
    ]


def test_an_interrupt_counts_nothing_of_an_unfinished_stage_and_leaves_no_files(
    logs: Path,
) -> None:
    made = pipeline(logs, source="", sink="source/*.jsonl")
    store = opened(made)

    def interrupt(stage: str, done: int, planned: int) -> None:
        if stage == "sink" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(made, store, progress=interrupt)
    finished = store.frontier("source")  # Spark may have come to the sink's first task before
    assert store.frontier("sink") == 0
    assert records(store) == 1500 * finished
    assert len(data_files(store)) == finished
    scan(made, store)
    assert records(store) == 3000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_during_a_scan_loses_nothing(logs: Path, small_disk: Path) -> None:
    made = pipeline(logs, store="disk/store")
    store = opened(made)

    def scan_often() -> None:
        for n in range(100):
            append(logs / "source" / "h1.jsonl", lines("h1", 500 + 20 * n, 20))
            scan(made, store)

    with pytest.raises(StoreError, match="the disk is full"):
        scan_often()
    assert records(store) % 20 == 0
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    scan(made, store)
    expected = pipeline(logs, store="elsewhere")
    scan(expected, opened(expected))
    assert in_force(store) == in_force(opened(expected))


@given(st.lists(st.integers(0, 300 << 20), max_size=40), st.integers(1, 8))
def test_tasks_hold_every_unit_once_and_are_even(sizes: list[int], workers: int) -> None:
    units = [Unit("a", str(n), "text", "", 0, 0, size=size) for n, size in enumerate(sizes)]
    groups = grouped(units, workers)
    assert sorted((unit for group in groups for unit in group), key=lambda u: int(u.key)) == units
    costs = [sum(unit.size for unit in group) for group in groups]
    allowed = max(sum(sizes) // (workers * 4), 8 << 20) + (64 << 10) * len(sizes)
    assert all(
        cost <= allowed or len(group) == 1 for cost, group in zip(costs, groups, strict=True)
    )


def test_what_came_while_a_stage_was_looked_at_again_is_not_lost_at_the_next(
    tmp_path: Path,
) -> None:
    """Another scan was first, so the source is planned again, after the sink was."""
    made = pipeline(tmp_path, source="", sink="")
    for name in ("source", "sink"):
        append(tmp_path / name / "0.jsonl", lines("h1", 0, 100))
    known = []

    def told(stage: str, done: int, planned: int) -> None:
        if stage == "sink" and not known:
            known.append(stage)
            append(tmp_path / "source" / "1.jsonl", lines("h1", 100, 10))
            scan(made, opened(made), ["source"], as_of=LATER)
            append(tmp_path / "source" / "2.jsonl", lines("h1", 400, 10))

    scan(made, opened(made), as_of=LATER, workers=1, progress=told)
    found = books(made)[-1]
    assert (found.expected, found.lost, found.unaudited) == (120, 0, 20)
