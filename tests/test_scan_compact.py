"""Compacting a store: fewer files and rows, nothing dead, and the same sums to the last bit."""

import random
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest
from scans import LATER, append, books, data_files, in_force, lines, opened, pipeline, records

from fidelity.config import Pipeline
from fidelity.errors import StoreError
from fidelity.scan import scan
from fidelity.store import DataFile, Store
from fidelity.store import compact as compacting
from fidelity.store.compact import compact
from fidelity.units import LedgerRow, Unit


@pytest.fixture
def made(tmp_path: Path) -> Pipeline:
    """Many small scans of a source and a sink, with superseded, vanished and moved units."""
    made = pipeline(tmp_path, source="", sink="sink/*.jsonl")
    made = made.model_copy(update={"settle": 0})
    store = opened(made)
    for n in range(6):
        append(tmp_path / "source" / "a.jsonl", lines("h1", 100 * n, 100))
        append(tmp_path / "source" / f"b{n % 2}.jsonl", lines(f"h2{n % 2}", 100 * n, 50))
        append(tmp_path / "sink" / f"{n}.jsonl", lines("h1", 100 * n, 100))
        scan(made, store, as_of=LATER)
    (tmp_path / "sink" / "2.jsonl").unlink()
    scan(made, store, as_of=LATER)
    return made


def stray(store: Store) -> DataFile:
    """What a scan leaves that was killed between its two commits."""
    rows = store.observations().to_table().slice(0, 1)
    dead = rows.set_column(0, "scan", [["dead"]]).set_column(2, "stage", [["sink"]])
    file = store.write_observations("dead", dead.cast(rows.schema).to_batches())
    assert file is not None
    table = store.observations_table
    table.commit(table.open(), [file])
    return file


def settled(made: Pipeline) -> Pipeline:
    """So that what was scanned with a clock far ahead counts as old."""
    return made.model_copy(update={"settle": -(2**62)})


def test_the_sums_stay_and_the_files_become_few(made: Pipeline) -> None:
    store = opened(made)
    before = in_force(store)
    ledger = {stage: len(store.ledger(stage)) for stage in ("source", "sink")}
    done = compact(settled(made), store)
    assert in_force(store) == before
    assert {stage: len(store.ledger(stage)) for stage in ledger} == ledger
    assert done.files[0] > done.files[1] == 2
    assert done.rows[0] > done.rows[1]
    assert done.entries[0] > done.entries[1]
    assert str(done).startswith("Compacted: 1")
    rows = store.observations().to_table()
    assert rows.num_rows == done.rows[1]
    # The source's observations are one row a scope: 3 producers share the stream, so 3 windows.
    assert rows["stage"].to_pylist().count("source") == len(before) - 3


def test_a_compacted_store_is_scanned_on_as_if_nothing_had_been(
    made: Pipeline, tmp_path: Path
) -> None:
    store = opened(made)
    compact(settled(made), store)
    assert [stage.units for stage in scan(made, store, as_of=LATER).stages] == [0, 0]
    append(tmp_path / "source" / "a.jsonl", lines("h1", 600, 10))
    (tmp_path / "sink" / "3.jsonl").unlink()
    scan(made, store, as_of=LATER)
    compact(settled(made), store)
    fresh = made.model_copy(update={"store": made.store + "-fresh"})
    scan(fresh, opened(fresh), as_of=LATER)
    assert in_force(store) == in_force(opened(fresh))


def test_compacting_twice_changes_nothing_more(made: Pipeline) -> None:
    store = opened(made)
    compact(settled(made), store)
    before, files = in_force(store), data_files(store)
    done = compact(settled(made), store)
    assert in_force(store) == before
    assert done.files == (2, 2)
    assert (done.rows[0], done.entries[0]) == (done.rows[1], done.entries[1])
    assert len(files) <= len(data_files(store))


def test_what_was_known_before_can_still_be_asked(made: Pipeline) -> None:
    store = opened(made)
    version = store.version()
    then = store.at(3).observations().to_table().num_rows
    compact(settled(made), store)
    assert store.at(3).observations().to_table().num_rows == then
    assert {row.commit for row in store.ledger("source", version)} >= {1, 2}


def test_a_reader_of_the_moment_before_is_not_disturbed(made: Pipeline) -> None:
    store = opened(made)
    snapshot = store.at()
    expected = snapshot.observations().to_table().num_rows
    compact(settled(made), store)
    assert snapshot.observations().to_table().num_rows == expected


def test_a_scan_under_way_is_left_alone_and_a_dead_one_goes(made: Pipeline) -> None:
    store = opened(made)
    stray(store)
    before = in_force(store)
    compact(settled(made), store)
    assert "dead" in store.observations().to_table()["scan"].to_pylist()
    compact(settled(made), store, everything=True)
    assert "dead" not in store.observations().to_table()["scan"].to_pylist()
    assert in_force(store) == before


def test_a_scan_that_commits_again_after_a_compaction_counts_once(made: Pipeline) -> None:
    """Its observations are there, its ledger entry met another scan's: then a compaction runs."""
    store = opened(made)
    before = records(store)
    file = stray(store)
    compact(settled(made), store)
    row = store.observations().to_table().filter(pc.field("scan") == "dead").to_pylist()[0]
    unit = Unit("sink", row["unit"], "text", "", 0, 1)
    entry = LedgerRow(unit, "read", "dead", 1, "")
    old = next(each for each in store.ledger("sink") if each.unit.key == row["unit"])
    store.commit("dead", "sink", [entry], [file], store.frontier("sink"))
    assert records(store) == before + row["records"] - old.tally.records


def test_a_dead_scan_goes_by_itself_after_a_day(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(made)
    stray(store)
    before = in_force(store)
    monkeypatch.setattr(compacting, "DAY_MS", -60_000)
    compact(settled(made), store)
    assert "dead" not in store.observations().to_table()["scan"].to_pylist()
    assert in_force(store) == before


def test_everything_leaves_no_file_that_is_not_needed(made: Pipeline) -> None:
    store = opened(made)
    store.write_observations("killed", store.observations().to_table().to_batches())
    before = in_force(store)
    compact(settled(made), store, everything=True)
    assert data_files(store) == store.observations_table.names(store.observations_table.open())
    assert in_force(store) == before


def test_a_scan_that_comes_in_between_is_not_undone(
    made: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan before each of the steps, and before each commit of the ledger."""
    store = opened(made)
    number = [0]

    def scanned() -> None:
        append(tmp_path / "source" / "a.jsonl", lines("h1", 600 + 10 * number[0], 10))
        append(tmp_path / "sink" / "4.jsonl", lines("h1", 600 + 10 * number[0], 10))
        number[0] += 1
        scan(made, store, as_of=LATER)

    for name in ("_merge_group", "_rewrite_observations", "_rewrite_ledger", "_commit", "_vacuum"):
        step = getattr(compacting, name)

        def disturbed(*given: object, step: object = step, **named: object) -> object:
            scanned()
            return step(*given, **named)  # type: ignore[operator]

        monkeypatch.setattr(compacting, name, disturbed)
    compact(settled(made), store)
    assert number[0] >= 6
    fresh = made.model_copy(update={"store": made.store + "-fresh"})
    scan(fresh, opened(fresh), as_of=LATER)
    assert in_force(store) == in_force(opened(fresh))


def test_of_two_compactions_at_once_the_later_gives_way(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(made)
    before, step = in_force(store), compacting._commit

    def disturbed(*given: object) -> None:
        monkeypatch.setattr(compacting, "_commit", step)
        compact(settled(made), store)
        step(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(compacting, "_commit", disturbed)
    with pytest.raises(StoreError, match="compacted by somebody else"):
        compact(settled(made), store)
    assert in_force(store) == before


def grown(made: Pipeline, folder: Path, number: int, *names: str) -> None:
    """One more file of records at some stages, and a scan of these."""
    for name in names:
        append(folder / name / f"{number}.jsonl", lines("h1", 200 * number, 200))
    scan(made, opened(made), names, as_of=LATER)


def test_what_an_earlier_compaction_put_into_one_file_is_merged(tmp_path: Path) -> None:
    """Scans that are too young to be merged get into one data file, and are merged by the next."""
    made = pipeline(tmp_path, source="", sink="")
    for n in (0, 1):
        grown(made, tmp_path, n, "source", "sink")
    compact(made, opened(made))
    assert len(opened(made).observations_table.names(opened(made).observations_table.open())) == 2
    grown(made, tmp_path, 2, "source", "sink")
    before = in_force(opened(made))
    compact(settled(made), opened(made))
    assert in_force(opened(made)) == before
    assert len({row.scan for row in opened(made).ledger("source")}) == 2  # and the look's own


def test_the_order_of_what_was_seen_stays(made: Pipeline) -> None:
    """Which file was where, and what a truncated topic holds, depends on it."""
    store = opened(made)
    before = {row.unit.key: row.commit for row in store.ledger("source")}
    frontier = store.frontier("source")
    compact(settled(made), store)
    assert {row.unit.key: row.commit for row in store.ledger("source")} == before
    assert store.frontier("source") == frontier


def test_a_unit_that_changes_meanwhile_keeps_its_own_observations(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(made)
    step, before = compacting._rewrite_ledger, in_force(store)
    first = min(row.scan for row in store.ledger("source") if row.tally.records)
    rows = [row for row in store.ledger("source") if row.scan == first]

    def disturbed(*given: object) -> None:
        monkeypatch.setattr(compacting, "_rewrite_ledger", step)
        gone = [replace(row, scan="another", status="unreadable") for row in rows]
        store.commit("another", "source", gone, [], store.frontier("source"))
        step(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(compacting, "_rewrite_ledger", disturbed)
    compact(settled(made), store)
    lost = sum(int(str(each["records"])) for each in before) - records(store)
    assert lost == sum(row.tally.records for row in rows) > 0


def test_a_loss_stays_one_where_later_scans_looked_at_the_source_alone(tmp_path: Path) -> None:
    """What was read after the last look at a sink is unaudited; what was read before it is lost."""
    made = pipeline(tmp_path, source="", sink="")
    append(tmp_path / "source" / "0.jsonl", lines("h1", 5_000, 7))
    grown(made, tmp_path, 0, "source", "sink")
    grown(made, tmp_path, 1, "source", "sink")
    grown(made, tmp_path, 50, "source")
    before = books(made)
    assert [(total.lost, total.unaudited) for total in before] == [(0, 0), (7, 200)]
    compact(settled(made), opened(made))
    assert books(made) == before


def test_a_sample_that_came_later_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    made = pipeline(tmp_path, source="", sink="")
    grown(made, tmp_path, 0, "source", "sink")
    sampled = made.stages[1].model_copy(update={"sample": 4})
    made = made.model_copy(update={"stages": (made.stages[0], sampled)})
    append(tmp_path / "source" / "1.jsonl", lines("h2", 0, 50))
    grown(made, tmp_path, 2, "source", "sink")
    before = in_force(opened(made))
    window = before[0]["window"]
    assert {row["sample"] for row in before if row["window"] == window} == {1, 4}
    compact(settled(made), opened(made))
    after = in_force(opened(made))
    assert {row["sample"] for row in after if row["window"] == window} == {1}
    assert [row for row in after if row["sample"] == 1] == [
        row for row in before if row["sample"] == 1
    ]


@pytest.mark.parametrize("seed", range(2))
def test_whenever_it_is_compacted_the_books_are_the_same(tmp_path: Path, seed: int) -> None:
    """Two stores see the same; one of them is compacted now and then, of what is old or of all."""
    chance = random.Random(seed)
    plain = pipeline(tmp_path, source="", sink="")
    made = plain.model_copy(update={"store": f"{plain.store}-compacted"})
    number = {"source": 0, "sink": 0}
    for step in range(8):
        for name in number:
            count = chance.choice([30, 90])
            file = tmp_path / name / f"{chance.choice([0, step])}.jsonl"
            append(file, lines("h1", number[name], count))
            number[name] += count + chance.choice([0, 0, 2])
        names = chance.choice([(), (), ("source",), ("sink",)])
        for each in (plain, made):
            scan(each, opened(each), names, as_of=LATER, workers=1)
        if step % 2:
            compact(chance.choice([made, settled(made)]), opened(made))
            assert books(made) == books(plain)
    compact(settled(made), opened(made))
    assert books(made) == books(plain)
    assert in_force(opened(made)) == in_force(opened(plain))
