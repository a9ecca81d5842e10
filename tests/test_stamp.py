"""The stamper hands out no id twice, and its manifest claims what was written, once."""

import json
import os
import random
import select
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fidelity.errors import StampError, UsageError
from fidelity.identity import ids_of, sequences_of
from fidelity.stamp import Stamper
from fidelity.stamp.manifest import Manifest, iso

MINUTE = 60_000_000
START = 1_783_000_000_000_000 // MINUTE * MINUTE


def state(path: Path, following: int) -> Path:
    said = {"fidelity_state": 1, "stream": "app", "origin": "host1", "next": following}
    path.write_text(json.dumps(said))
    return path


def following(path: Path) -> int:
    number = json.loads(path.read_text())["next"]
    assert isinstance(number, int)
    return number


def claims(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def claimed(manifest: Path, seed: int) -> Counter[int]:
    """How often each id is claimed, by the complete lines."""
    whole = manifest.read_bytes().rpartition(b"\n")[0].splitlines()
    ids: Counter[int] = Counter()
    for line in whole:
        try:
            runs = json.loads(line)["runs"]
        except ValueError:
            continue  # torn by a crash
        for first, count in runs:
            ids.update(ids_of(np.arange(first, first + count), seed).tolist())
    return ids


def in_child(act: Callable[[], object]) -> int:
    """Run in a forked child; its exit status, 0 if it raised nothing."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_ids_are_those_of_consecutive_sequence_numbers(tmp_path: Path) -> None:
    with Stamper("app", "host1", state=state(tmp_path / "s", 100), block=8) as stamper:
        ids = [*stamper.take(3).tolist(), stamper.next(), *stamper.take(20).tolist()]
        assert stamper.take(0).tolist() == []
        assert sequences_of(ids, stamper.seed).tolist() == list(range(100, 124))


def test_a_session_goes_on_where_a_closed_one_ended(tmp_path: Path) -> None:
    sequences: list[int] = []
    for count in (5, 1, 300):
        with Stamper("app", "host1", state=tmp_path / "s", block=64) as stamper:
            sequences += sequences_of(stamper.take(count), stamper.seed).tolist()
    assert sequences == [(sequences[0] + k) % 2**32 for k in range(306)]


def test_sequences_wrap_to_zero(tmp_path: Path) -> None:
    path = state(tmp_path / "s", 2**32 - 3)
    with Stamper("app", "host1", state=path, manifest=tmp_path / "m") as stamper:
        ids = stamper.take(5)
        stamper.written(ids, START)
        expected = [2**32 - 3, 2**32 - 2, 2**32 - 1, 0, 1]
        assert sequences_of(ids, stamper.seed).tolist() == expected
    assert following(path) == 2
    assert [line["runs"] for line in claims(tmp_path / "m")] == [[[2**32 - 3, 5]]]


def test_sessions_without_state_start_at_different_points() -> None:
    starts = set()
    for _ in range(8):
        stamper = Stamper("app", "host1")
        starts.add(int(sequences_of([stamper.next()], stamper.seed)[0]))
    assert len(starts) == 8


def test_a_first_session_starts_at_a_random_point(tmp_path: Path) -> None:
    starts = set()
    for name in "abc":
        with Stamper("app", "host1", state=tmp_path / name) as stamper:
            starts.add(stamper.next())
    assert len(starts) == 3


def test_a_dead_session_leaves_a_gap_and_never_a_repeat(tmp_path: Path) -> None:
    path = state(tmp_path / "s", 0)

    def die() -> None:
        stamper = Stamper("app", "host1", state=path, block=64)
        stamper.take(10)
        os._exit(0)

    assert in_child(die) == 0
    with Stamper("app", "host1", state=path) as stamper:
        assert sequences_of([stamper.next()], stamper.seed).tolist() == [64]


def test_bulk_use_reserves_larger_blocks_and_so_seldom_waits_for_the_disk(tmp_path: Path) -> None:
    path = state(tmp_path / "s", 0)
    with Stamper("app", "host1", state=path, block=16) as stamper:
        reserved = set()
        for _ in range(1000):
            stamper.take(100)
            reserved.add(following(path))
        assert len(reserved) < 30


def test_a_state_file_in_use_is_refused_and_says_by_whom(tmp_path: Path) -> None:
    with Stamper("app", "host1", state=tmp_path / "s") as stamper:
        stamper.next()
        with pytest.raises(StampError, match=f"in use|using.*{os.getpid()}"):
            Stamper("app", "host1", state=tmp_path / "s")
        (tmp_path / "link").symlink_to(tmp_path / "s")
        with pytest.raises(StampError):
            Stamper("app", "host1", state=tmp_path / "link")
    Stamper("app", "host1", state=tmp_path / "s").close()


def test_a_forgotten_stamper_lets_go_of_its_state_file(tmp_path: Path) -> None:
    stamper = Stamper("app", "host1", state=tmp_path / "s")
    first = stamper.next()
    seed = stamper.seed
    del stamper
    with Stamper("app", "host1", state=tmp_path / "s") as stamper:
        assert sequences_of([stamper.next()], seed) == sequences_of([first], seed) + np.uint32(1)


@pytest.mark.parametrize("with_state", [True, False])
def test_forked_children_and_their_parent_share_no_id(tmp_path: Path, with_state: bool) -> None:
    path = tmp_path / "s" if with_state else None
    out = tmp_path / "ids"
    with Stamper("app", "host1", state=path, block=32) as stamper:

        def write() -> None:
            ids = [*stamper.take(70).tolist(), *(stamper.next() for _ in range(10))]
            with out.open("a") as file:
                file.write("".join(f"{fid:08x}\n" for fid in ids))

        write()
        for _ in range(4):
            assert in_child(lambda: (write(), stamper.close())) == 0
            write()
        assert in_child(lambda: (write(), os._exit(0))) == 0
        write()
    lines = out.read_text().split()
    assert len(lines) == 11 * 80 == len(set(lines))


def test_a_fork_while_other_threads_stamp_does_not_hang_and_repeats_nothing(tmp_path: Path) -> None:
    stop = threading.Event()
    taken: list[int] = []
    with Stamper("app", "host1", state=tmp_path / "s", manifest=tmp_path / "m", block=8) as stamper:

        def busy() -> None:
            while not stop.is_set():
                ids = stamper.take(3)
                stamper.written(ids, START)
                taken.extend(ids.tolist())

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for child in range(10):
                out = tmp_path / f"child{child}"
                act = lambda out=out: (  # noqa: E731
                    out.write_text("".join(f"{i:08x}\n" for i in stamper.take(20).tolist())),
                    stamper.flush(),
                )
                assert in_child(act) == 0
        finally:
            stop.set()
            thread.join()
    children = [int(line, 16) for c in range(10) for line in (tmp_path / f"child{c}").open()]
    assert len(set(taken) | set(children)) == len(taken) + 200
    assert claimed(tmp_path / "m", stamper.seed) == Counter(taken)


def test_threads_share_no_id_and_the_manifest_counts_them_all(tmp_path: Path) -> None:
    taken: list[list[int]] = []
    with Stamper(
        "app", "host1", state=tmp_path / "s", manifest=tmp_path / "m", block=16
    ) as stamper:

        def work(chance: random.Random) -> None:
            mine: list[int] = []
            for _ in range(200):
                ids = [*stamper.take(chance.randrange(5)).tolist(), stamper.next()]
                stamper.written(ids, START + chance.randrange(3) * MINUTE, 10)
                mine += ids
                if chance.random() < 0.05:
                    stamper.flush()
            taken.append(mine)

        threads = [threading.Thread(target=work, args=(random.Random(k),)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ids = [fid for mine in taken for fid in mine]
    assert len(ids) == len(set(ids))
    assert claimed(tmp_path / "m", stamper.seed) == Counter(ids)
    assert sum(line["bytes"] for line in claims(tmp_path / "m")) == 10 * len(ids)


BAD_STATES = {
    "empty": "",
    "half": '{"fidelity_state": 1, "stream": "app", "ori',
    "a list": "[]",
    "too large": '{"fidelity_state": 1, "stream": "app", "origin": "host1", "next": 4294967296}',
    "another version": '{"fidelity_state": 2, "stream": "app", "origin": "host1", "next": 1}',
    "another producer": '{"fidelity_state": 1, "stream": "app", "origin": "host2", "next": 1}',
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_a_damaged_or_foreign_state_file_is_refused_and_let_go(tmp_path: Path, case: str) -> None:
    path = tmp_path / "s"
    path.write_text(BAD_STATES[case])
    with pytest.raises(StampError) as error:
        Stamper("app", "host1", state=path)
    assert error.value.where == str(path)
    assert error.value.action
    path.unlink()
    Stamper("app", "host1", state=path).close()


def test_a_state_that_cannot_be_written_costs_no_id(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with Stamper("app", "host1", state=state(folder / "s", 0), block=4) as stamper:
        stamper.take(3)
        folder.rename(tmp_path / "away")
        with pytest.raises(StampError, match="cannot be"):
            stamper.take(5)
        (tmp_path / "away").rename(folder)
        assert sequences_of(stamper.take(5), stamper.seed).tolist() == [3, 4, 5, 6, 7]


def test_a_missing_folder_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(StampError, match="No such file"):
        Stamper("app", "host1", state=tmp_path / "none" / "s")
    with pytest.raises(StampError, match="No such file"):
        Stamper("app", "host1", state=tmp_path / "s", manifest=tmp_path / "none" / "m")
    Stamper("app", "host1", state=tmp_path / "s").close()


@pytest.mark.parametrize(
    "wrong", [{"stream": ""}, {"origin": "a\x1f"}, {"block": 0}, {"window": 0.1, "manifest": "m"}]
)
def test_arguments_without_sense_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    if "manifest" in wrong:
        wrong = wrong | {"manifest": tmp_path / "m"}
    with pytest.raises(UsageError):
        Stamper(**{"stream": "app", "origin": "host1"} | wrong)
    with pytest.raises(UsageError):
        Stamper("app", "host1").take(-1)


def test_a_closed_stamper_gives_no_ids_but_still_counts(tmp_path: Path) -> None:
    stamper = Stamper("app", "host1", state=tmp_path / "s", manifest=tmp_path / "m")
    ids = stamper.take(2)
    stamper.close()
    stamper.close()
    with pytest.raises(StampError, match="closed"):
        stamper.next()
    stamper.written(ids, START)
    assert claimed(tmp_path / "m", stamper.seed) == Counter(ids.tolist())


CALLS = st.lists(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 99)), max_size=40),
    max_size=5,
)


@settings(max_examples=60)
@given(CALLS, st.integers(0, 2**32 - 1), st.booleans())
def test_a_manifest_is_the_multiset_of_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    calls: list[list[tuple[int, int, int]]],
    base: int,
    flush_between: bool,
) -> None:
    path = tmp_path_factory.mktemp("m") / "m"
    manifest = Manifest(path, "app", "host1", MINUTE)
    records, sizes = Counter[tuple[int, int]](), Counter[int]()
    for call in calls:
        rows = np.array(call, np.int64).reshape(-1, 3)
        sequences = (rows[:, 0] + base).astype(np.uint32)
        times = START + rows[:, 1] * MINUTE + rows[:, 2]
        manifest.add(sequences, times, rows[:, 2])
        records.update(zip((rows[:, 1]).tolist(), sequences.tolist(), strict=True))
        for window, size in rows[:, 1:].tolist():
            sizes[window] += size
        if flush_between:
            manifest.flush()
    manifest.flush()
    seen, seen_sizes = Counter[tuple[int, int]](), Counter[int]()
    for line in claims(path):
        window = int(np.datetime64(line["start"][:-1], "us").astype(int) - START) // MINUTE
        assert iso(START + (window + 1) * MINUTE) == line["end"]
        seen_sizes[window] += line["bytes"]
        for first, count in line["runs"]:
            seen.update((window, (first + k) % 2**32) for k in range(count))
    assert seen == records
    assert +seen_sizes == +sizes


def test_only_windows_that_are_over_are_written_and_late_records_add_a_line(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "m", "app", "host1", MINUTE)
    manifest.add_one(1, START + 5, 10)
    manifest.add_one(2, START + MINUTE, 10)
    manifest.flush(until=START + MINUTE - 1)
    assert claims(tmp_path / "m") == []
    manifest.flush(until=START + MINUTE)
    manifest.add_one(3, START + 6, 10)
    manifest.flush()
    assert [(line["start"], line["runs"]) for line in claims(tmp_path / "m")] == [
        (iso(START), [[1, 1]]),
        (iso(START), [[3, 1]]),
        (iso(START + MINUTE), [[2, 1]]),
    ]


def test_a_window_that_is_over_is_written_without_being_asked(tmp_path: Path) -> None:
    with Stamper("app", "host1", manifest=tmp_path / "m", window=1) as stamper:
        stamper.written(stamper.take(3), START)
        deadline = threading.Event()
        for _ in range(100):
            if claims(tmp_path / "m") or deadline.wait(0.05):
                break
        assert [run[1] for line in claims(tmp_path / "m") for run in line["runs"]] == [3]


def test_a_line_torn_by_a_crash_is_closed_off(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b'{"manifest":1,"stream":"app","runs":[[5,')
    manifest = Manifest(tmp_path / "m", "app", "host1", MINUTE)
    manifest.add_one(1, START, 10)
    manifest.flush()
    lines = (tmp_path / "m").read_bytes().split(b"\n")
    assert len(lines) == 3
    assert lines[2] == b""
    assert json.loads(lines[1])["runs"] == [[1, 1]]


def test_counts_are_kept_while_the_manifest_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "m"
    manifest = Manifest(path, "app", "host1", MINUTE)
    manifest.add_one(1, START, 10)
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(StampError, match="space"):
        manifest.flush()
    manifest.add_one(2, START, 10)
    path.unlink()
    manifest.flush()
    assert [(line["runs"], line["bytes"]) for line in claims(path)] == [([[1, 2]], 20)]


def test_what_is_pending_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fidelity.stamp.manifest._MOST_RUNS", 10)
    monkeypatch.setattr("fidelity.stamp.manifest._RUNS_A_LINE", 4)
    manifest = Manifest(tmp_path / "m", "app", "host1", MINUTE)
    for sequence in range(0, 22, 2):
        manifest.add_one(sequence, START, 10)
    said = claims(tmp_path / "m")
    assert [len(line["runs"]) for line in said] == [4, 4, 3]
    assert sum(line["bytes"] for line in said) == 110


@pytest.mark.parametrize("time", [-1, 2**62])
def test_an_event_time_beyond_the_calendar_is_refused_and_not_counted(
    tmp_path: Path, time: int
) -> None:
    with Stamper("app", "host1", manifest=tmp_path / "m") as stamper:
        with pytest.raises(UsageError):
            stamper.written(stamper.take(2), [START, time])
        with pytest.raises(UsageError):
            stamper.written(stamper.next(), time)
    assert claims(tmp_path / "m") == []


def _session(folder: Path, chance: random.Random) -> None:
    out = os.open(folder / "out", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with Stamper(
        "app", "host1", state=folder / "s", manifest=folder / "m", window=1, block=16
    ) as stamper:
        while True:
            ids = stamper.take(chance.randrange(1, 40))
            os.write(out, "".join(f"{fid:08x}\n" for fid in ids.tolist()).encode())
            stamper.written(ids, START + chance.randrange(5) * 1_000_000, 9)
            if chance.random() < 0.3:
                stamper.flush()


def test_killed_at_any_moment_no_id_repeats_and_the_manifest_claims_only_what_is_there(
    tmp_path: Path,
) -> None:
    chance = random.Random(20)
    for round_ in range(60):
        pid = os.fork()
        if pid == 0:
            try:
                _session(tmp_path, random.Random(round_))
            finally:
                os._exit(1)
        handle = os.pidfd_open(pid)
        alive = select.poll()
        alive.register(handle)
        assert alive.poll(chance.uniform(1, 60)) == [], "the session ended by itself"
        os.close(handle)
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    written = (tmp_path / "out").read_bytes().rpartition(b"\n")[0].split()
    assert len(written) > 1000
    assert len(set(written)) == len(written)
    seed = Stamper("app", "host1").seed
    said = claimed(tmp_path / "m", seed)
    assert len(said) > 500
    assert set(said.values()) == {1}
    assert set(said) <= {int(fid, 16) for fid in written}
