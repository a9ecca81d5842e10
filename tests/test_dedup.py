"""Deduplicator: as exact as a set of ids, whatever the order, batches, restarts and kills."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import consumers
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fidelity.dedup import Deduplicator
from fidelity.dedup.runs import Runs
from fidelity.errors import DedupError, UsageError
from fidelity.identity import id_of, ids_of, producer_seed

SEED = producer_seed("app", "h1")
EDGE = (1 << 32) - 1
# Numbers that meet: small ones, and those on both sides of the wrap.
NUMBERS = st.integers(-12, 12).map(lambda number: number % (1 << 32)) | st.integers(0, EDGE)
ARRIVALS = st.lists(st.tuples(st.sampled_from(["h1", "h2", "h3"]), NUMBERS), max_size=60)


class Model:
    """What `Deduplicator` is to say: sets of ids, on two pages for each producer."""

    def __init__(self, page: int) -> None:
        self.page, self.pages = page, dict[str, tuple[set[int], set[int]]]()

    def first(self, origin: str, id: int) -> bool:
        new, before = self.pages.setdefault(origin, (set(), set()))
        if id in new or id in before:
            return False
        if len(new) == self.page:
            self.turn(origin)
        self.pages[origin][0].add(id)
        return True

    def turn(self, origin: str) -> None:
        self.pages[origin] = set(), self.pages[origin][0]


def ids_of_arrivals(arrivals: Sequence[tuple[str, int]]) -> list[int]:
    return [id_of(number, producer_seed("app", origin)) for origin, number in arrivals]


@given(ARRIVALS, st.lists(st.integers(0, 60), max_size=6), st.integers(1, 6) | st.just(1 << 30))
def test_it_says_what_sets_of_ids_say_for_any_batches_restarts_and_turns(
    tmp_path_factory: pytest.TempPathFactory,
    arrivals: list[tuple[str, int]],
    cuts: list[int],
    page: int,
) -> None:
    folder, model = tmp_path_factory.mktemp("state"), Model(page)
    ids = ids_of_arrivals(arrivals)
    for start, stop in pairwise([0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]):
        with Deduplicator(folder, page=page) as kept:
            assert kept.positions.get(("logs", 0), 0) == start
            if start % 5 == 4:
                kept.turn()
                for origin in model.pages:
                    model.turn(origin)
            origins = [origin for origin, _ in arrivals[start:stop]]
            expected = [model.first(*each) for each in zip(origins, ids[start:stop], strict=True)]
            if start % 2:
                told = kept.firsts("app", origins, ids[start:stop]).tolist()
            else:
                pairs = zip(origins, ids[start:stop], strict=True)
                told = [kept.first("app", origin, id) for origin, id in pairs]
            assert told == expected
            kept.save({("logs", 0): stop})


@given(st.lists(NUMBERS, max_size=80))
def test_runs_are_the_fewest_that_hold_the_numbers(numbers: list[int]) -> None:
    kept = Deduplicator()
    kept.firsts("app", "h1", ids_of(numbers, SEED))
    ordered = sorted(set(numbers))
    gaps = sum(after - before > 1 for before, after in pairwise(ordered))
    assert kept.runs == (gaps + 1 if ordered else 0)


@given(st.lists(st.sets(st.integers(0, 40) | st.integers(EDGE - 5, EDGE)), max_size=6))
def test_whole_runs_add_up_like_sets_and_tell_what_was_there(sets: list[set[int]]) -> None:
    whole, model = Runs(), set[int]()
    for numbers in sets:
        assert members(whole.add_runs(runs_of(numbers))) == model & numbers
        model |= numbers
        assert members(whole.runs) == model
        assert np.array_equal(whole.runs, runs_of(model))


def runs_of(numbers: set[int]) -> np.ndarray:
    ordered = np.array(sorted(numbers), np.int64)
    breaks = np.flatnonzero(np.diff(ordered) > 1)
    firsts = ordered[np.r_[0, breaks + 1]] if len(ordered) else ordered
    lasts = ordered[np.r_[breaks, len(ordered) - 1]] if len(ordered) else ordered
    return np.array([firsts, lasts]).astype(np.uint32)


def members(runs: np.ndarray) -> set[int]:
    return {number for first, last in runs.T.tolist() for number in range(first, last + 1)}


def test_a_sequence_that_wraps_is_two_runs_and_loses_nothing() -> None:
    numbers = np.arange(EDGE - 1000, EDGE + 1000)
    kept = Deduplicator()
    assert kept.firsts("app", "h1", ids_of(numbers, SEED)).all()
    assert not kept.firsts("app", "h1", ids_of(numbers, SEED)).any()
    assert kept.runs == 2


def test_the_same_id_after_the_pages_were_filled_twice_is_a_new_record() -> None:
    kept = Deduplicator(page=100)
    ids = ids_of(np.arange(300), SEED)
    assert kept.firsts("app", "h1", ids).all()
    assert kept.firsts("app", "h1", ids[:100]).all()  # forgotten, as told
    assert not kept.firsts("app", "h1", ids[200:]).any()  # the last 100 are sure to be known


def test_the_same_id_of_two_producers_is_two_records() -> None:
    kept = Deduplicator()
    assert kept.firsts(["a", "a", "b", "a"], ["x", "y", "x", "x"], [7, 7, 7, 7]).tolist() == [
        True, True, True, False,
    ]  # fmt: skip


def test_names_come_as_lists_arrays_or_dictionaries() -> None:
    names = pa.array(["h1", "h2", "h1"])
    for origins in (names, names.dictionary_encode(), pa.chunked_array([names[:2], names[2:]])):
        assert Deduplicator().firsts("app", origins, [1, 1, 1]).tolist() == [True, True, False]
    kept = Deduplicator()
    codes = kept.producers("app", names, 3)
    assert kept.firsts_of(codes, np.array([1, 1, 1], np.uint32)).tolist() == [True, True, False]


@pytest.mark.parametrize("ids", [[-1], [1 << 32], [1.5], ["1"], [[1]]])
def test_what_is_no_id_is_refused(ids: list[object]) -> None:
    with pytest.raises(UsageError, match="no ids"):
        Deduplicator().firsts("app", "h1", ids)
    with pytest.raises(UsageError, match="is no id"):
        Deduplicator().first("app", "h1", 1 << 32)
    with pytest.raises(UsageError, match="no producer of such a code"):
        Deduplicator().firsts_of(np.zeros(1, np.int32), np.zeros(1, np.uint32))
    with pytest.raises(UsageError, match="null"):
        Deduplicator().firsts("app", [None], [1])


@pytest.mark.parametrize(
    "names",
    [
        pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None])),
        pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array([5, 6])),
        [5, 6],
        ["a", "b\ud800"],
        [b"a", b"\xff"],
    ],
)
def test_what_is_no_name_is_refused(names: Any) -> None:
    with pytest.raises(UsageError, match="streams"):
        Deduplicator().firsts(names, "h1", [1, 2])


@pytest.mark.parametrize(
    "positions",
    [{"logs": 5}, {("logs", 0): None}, {("logs", "0"): 5}, {(7, 0): 5}, {("logs", 0): 1.5}, [5]],
)
def test_what_is_no_position_is_refused_before_anything_is_written(
    tmp_path: Path, positions: Any
) -> None:
    with Deduplicator(tmp_path) as kept:
        kept.first("app", "h1", 1)
        with pytest.raises(UsageError, match="no positions"):
            kept.save(positions)
        assert kept.positions == {}
        assert os.listdir(tmp_path) == ["lock"]
    with pytest.raises(UsageError, match="no positions"):
        Deduplicator(tmp_path, at=positions)
    Deduplicator(tmp_path).close()


def test_positions_may_be_any_integers(tmp_path: Path) -> None:
    with Deduplicator(tmp_path) as kept:
        kept.save({("logs", np.int32(0)): np.int64(5)})
    with Deduplicator(tmp_path, at={("logs", np.int64(0)): np.int64(5)}) as kept:
        assert kept.positions == {("logs", 0): 5}


def test_nothing_is_judged_once_it_is_closed(tmp_path: Path) -> None:
    for state in (None, tmp_path):
        kept = Deduplicator(state)
        kept.close()
        with pytest.raises(DedupError, match="is closed"):
            kept.first("app", "h1", 1)
        with pytest.raises(DedupError, match="is closed"):
            kept.firsts("app", "h1", [1])


def test_too_many_holes_are_told_and_nothing_is_forgotten() -> None:
    kept = Deduplicator(most_runs=1000)
    ids = ids_of(np.arange(0, 2000, 2), SEED)
    assert kept.firsts("app", "h1", ids).all()
    with pytest.raises(DedupError, match="1,000 open runs"):
        kept.first("app", "h1", id_of(1, SEED))
    assert kept.turn() == 0  # the page before was empty; this one is it now
    assert kept.turn() == 1000
    assert kept.first("app", "h1", id_of(1, SEED))
    assert kept.runs == 1


def test_a_million_holes_stay_open_and_close_again(tmp_path: Path) -> None:
    even = ids_of(np.arange(0, 2_000_000, 2), SEED)
    with Deduplicator(tmp_path) as kept:
        assert kept.firsts("app", "h1", even).all()
        assert kept.runs == 1_000_000
        kept.save({})
    with Deduplicator(tmp_path) as kept:
        assert not kept.firsts("app", "h1", even).any()
        odd = np.random.default_rng(1).permutation(np.arange(1, 2001, 2))
        assert kept.firsts("app", "h1", ids_of(odd, SEED)).all()
        assert kept.runs == 1_000_000 - 1000


def test_what_was_not_saved_is_judged_again(tmp_path: Path) -> None:
    with Deduplicator(tmp_path) as kept:
        assert kept.first("app", "h1", 1)
        kept.save({("logs", 0): 1})
        assert kept.first("app", "h1", 2)
    with Deduplicator(tmp_path) as kept:
        assert kept.positions == {("logs", 0): 1}
        assert not kept.first("app", "h1", 1)
        assert kept.first("app", "h1", 2)


@pytest.mark.parametrize("offset", [0, -1, -1001])
def test_at_the_beginning_nothing_was_seen(tmp_path: Path, offset: int) -> None:
    for _ in range(2):
        with Deduplicator(tmp_path, at={("logs", 0): offset}) as kept:
            assert kept.first("app", "h1", 1)
            kept.save({("logs", 0): 1})


def test_the_last_but_one_state_is_taken_if_the_sink_has_not_got_further(tmp_path: Path) -> None:
    with Deduplicator(tmp_path, at={("logs", 0): -1001}) as kept:
        assert kept.first("app", "h1", 1)
        kept.save({("logs", 0): 1})
    with Deduplicator(tmp_path, at={("logs", 0): -1001}) as kept:
        assert kept.first("app", "h1", 1)
        kept.save({("logs", 0): 1})
        assert kept.first("app", "h1", 2)
        kept.save({("logs", 0): 2})
    with Deduplicator(tmp_path, at={("logs", 0): 1}) as kept:
        assert not kept.first("app", "h1", 1)
        assert kept.first("app", "h1", 2)
    with Deduplicator(tmp_path, at={("logs", 0): 2}) as kept:
        assert not kept.first("app", "h1", 2)
    with pytest.raises(DedupError, match=r"No state was saved at logs/0:7, only at logs/0:2 and"):
        Deduplicator(tmp_path, at={("logs", 0): 7})


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with (
        Deduplicator(tmp_path),
        pytest.raises(DedupError, match=rf"Another process .*{os.getpid()}"),
    ):
        Deduplicator(tmp_path)
    Deduplicator(tmp_path).close()


@pytest.mark.parametrize("damage", [b"", b"something else", None])
def test_a_damaged_state_is_told_and_the_one_before_it_can_be_used(
    tmp_path: Path, damage: bytes | None
) -> None:
    with Deduplicator(tmp_path) as kept:
        for id in range(3):
            kept.first("app", "h1", id)
            kept.save({("logs", 0): id + 1})
    newest = tmp_path / "state-1"
    content = bytearray(newest.read_bytes())
    content[-12] ^= 1
    newest.write_bytes(bytes(content) if damage is None else damage)
    with pytest.raises(DedupError, match="damaged"):
        Deduplicator(tmp_path)
    newest.unlink()
    with Deduplicator(tmp_path) as kept:
        assert kept.positions == {("logs", 0): 2}
        assert [kept.first("app", "h1", id) for id in range(3)] == [False, False, True]


def test_a_state_that_cannot_be_written_is_told_and_the_last_one_stays(tmp_path: Path) -> None:
    with Deduplicator(tmp_path / "state") as kept:
        kept.first("app", "h1", 1)
        kept.save({("logs", 0): 1})
        (tmp_path / "state/state-0.new").mkdir()  # the next draft's name
        kept.first("app", "h1", 2)
        with pytest.raises(DedupError, match="cannot be written: Is a directory"):
            kept.save({("logs", 0): 2})
        assert kept.positions == {("logs", 0): 1}
    with pytest.raises(DedupError, match="is closed"):
        kept.save({})
    with Deduplicator(tmp_path / "state") as kept:
        assert kept.positions == {("logs", 0): 1}
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DedupError, match="cannot be used"):
        Deduplicator(tmp_path / "file")


def test_locally_shuffled_records_with_late_copies_are_exact_and_cost_bytes_a_run(
    tmp_path: Path,
) -> None:
    chance, count = np.random.default_rng(1), 1_000_000
    numbers = np.concatenate([np.arange(count), chance.integers(0, count, count // 100)])
    arrival = np.concatenate([np.arange(count), chance.integers(0, count, count // 100)])
    numbers = numbers[np.argsort(arrival + chance.integers(0, 500, len(numbers)), kind="stable")]
    expected = np.zeros(len(numbers), np.bool_)
    expected[np.unique(numbers, return_index=True)[1]] = True
    ids, step = ids_of(numbers, SEED), 5000
    with Deduplicator(tmp_path) as kept:
        told = [kept.firsts("app", "h1", ids[at : at + step]) for at in range(0, len(ids), step)]
        assert np.array_equal(np.concatenate(told), expected)
        kept.save({})
    assert kept.runs == 1
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 1000


def killed(loop: str, folder: Path, lives: range) -> Iterator[Path]:
    """A consumer's folder after each series of lives that were cut short."""
    command = [sys.executable, consumers.__file__, loop, str(folder), *map(str, lives)]
    subprocess.run(command, check=True)
    for life in lives:
        assert (folder / str(life) / "kills").exists()
        yield folder / str(life)


def test_a_transactional_consumer_killed_before_any_file_operation_is_exact(tmp_path: Path) -> None:
    for folder in killed("exactly_once", tmp_path, range(1, 18)):
        sink = json.loads((folder / "sink").read_bytes())
        assert sink == {"offset": len(consumers.TOPIC), "delivered": consumers.FIRSTS}


def test_a_plain_consumer_killed_before_any_file_operation_redelivers_only_the_same_records(
    tmp_path: Path,
) -> None:
    for folder in killed("at_least_once", tmp_path, range(1, 18)):
        delivered = [int(line) for line in (folder / "log").read_text().split()]
        # By its offset each record is there, and no copy of it: who keys by offset has it once.
        assert sorted(set(delivered)) == consumers.FIRSTS
