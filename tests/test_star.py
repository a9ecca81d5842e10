"""The star: what runs published is what readers see, whole runs only, and no other figure."""

import contextlib
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stars import PIPELINE, START, WINDOW, Star, figures, narrow, report

from fidelity.errors import StoreError, UsageError
from fidelity.report import Report
from fidelity.report.json import render
from fidelity.sources.filesystem import Filesystem
from fidelity.star import Place, catalogue
from fidelity.star.held import Held
from fidelity.star.reference import MARK, PAGE, reference
from fidelity.star.schema import TABLES
from fidelity.star.write import publish_star

CONTENTS = st.dictionaries(st.integers(0, 9), st.integers(0, 3), max_size=6)


@pytest.fixture
def star(tmp_path: Path) -> Star:
    return Star(tmp_path)


def as_json(star: Star, view: str) -> list[dict[str, Any]]:
    """The rows of a view in the shape of the JSON report."""
    found = star.table(f"SELECT * EXCLUDE (as_of, pipeline, run, day) FROM {view}").to_pylist()
    for row in found:
        row["window"] = row["window"].strftime("%Y-%m-%dT%H:%M:%SZ")
        if view == "difference":
            row["id"] = f"{row['id']:08x}"
            place = {name: row.pop(name) for name in ("path", "partition", "offset")}
            row["position"] = None if place["path"] is None else place
        if view == "balance":
            row["flaws"] = {}
    return found


def same_order(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


@given(contents=CONTENTS)
@settings(max_examples=6)
def test_the_star_tells_what_the_json_report_tells_to_the_last_record(
    contents: dict[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    star = Star(tmp_path_factory.mktemp("star"))
    told = report("r1", 9, contents)
    star.publish(told)
    wanted = json.loads(render(told))
    for view in ("balance", "difference", "lag"):
        assert same_order(as_json(star, view)) == same_order(wanted[f"{view}s"])
    flaws = {(s, k): n for s, k, n in star.ask("SELECT stage, kind, records FROM flaw")}
    assert flaws == {(row.stage, kind): n for row in told.stages for kind, n in row.flaws.items()}


RUNS = st.lists(
    st.tuples(
        st.integers(0, 4),  # the run's name
        CONTENTS,
        st.one_of(st.none(), st.tuples(st.integers(0, 5), st.integers(1, 5))),  # narrowed
    ),
    min_size=1,
    max_size=6,
)


def published(star: Star, runs: list[Any], many: int) -> None:
    for name, contents, within in runs:
        if within is None:
            star.publish(report(f"r{name}", name, contents), many=many)
            continue
        first, end = within[0], within[0] + within[1]
        inside = {w: seed for w, seed in contents.items() if first <= w < end}
        star.publish(narrow(f"r{name}", name, inside, first, end), many=many)


def truth(runs: list[Any]) -> dict[int, int]:
    """The figures of each window, as the newest run that speaks of it told them last.

    A whole run speaks of all windows, a narrowed one of those that it was narrowed to.
    """
    told: dict[int, dict[int, int | None]] = {}
    for name, contents, within in runs:
        if within is None:
            told[name] = {w: contents.get(w) for w in range(10)}
        else:
            inside = range(within[0], within[0] + within[1])
            told[name] = told.get(name, {}) | {w: contents.get(w) for w in inside}
    newest: dict[int, int | None] = {}
    for name in sorted(told):
        newest |= told[name]
    return {w: figures(w, seed) for w, seed in newest.items() if seed is not None}


@given(runs=RUNS, many=st.sampled_from([2, 3, 24]))
@settings(max_examples=6)
def test_the_current_truth_of_a_window_is_what_the_newest_run_says_of_it(
    runs: list[Any], many: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a model: a dictionary of runs, in which each says all that it speaks of."""
    star = Star(tmp_path_factory.mktemp("star"))
    published(star, runs, many)
    current = {window: observed for window, (_, observed) in star.current().items()}
    assert current == truth(runs)
    by_day = star.ask("SELECT sum(observed) FROM daily")[0][0] or 0
    assert by_day == sum(current.values())
    held = Held.of(star.place)
    assert not held.dead_parts()
    assert held.dead_files() == ([], [])


VIEWS = {  # but for who of those that say the same is named for it
    "balance": "as_of, run",
    "difference": "as_of, run",
    "lag": "as_of, run",
    "flaw": "",
    "completeness_by_day": "",
    "restatements": "run_before",
    "time_to_detect": "",
}


def told_by(star: Star) -> dict[str, list[str]]:
    """The rows of the views that tell the truth, in one order."""
    with star.asked() as connection:
        return {view: sorted(map(str, rows_of(connection, view))) for view in VIEWS}


def rows_of(connection: duckdb.DuckDBPyConnection, view: str) -> list[tuple[Any, ...]]:
    but = f"EXCLUDE ({VIEWS[view]})" if VIEWS[view] else ""
    return connection.execute(f"SELECT * {but} FROM {view}").fetchall()


@given(runs=RUNS, many=st.sampled_from([2, 24]))
@settings(max_examples=4)
def test_it_makes_no_difference_in_which_order_runs_are_published(
    runs: list[Any], many: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As they come, and one after the other in the order of their clocks."""
    star, ordered = (Star(tmp_path_factory.mktemp("star")) for _ in range(2))
    published(star, runs, many)
    published(ordered, sorted(runs, key=lambda run: run[0]), many)
    assert told_by(star) == told_by(ordered)


@pytest.mark.parametrize("order", list(itertools.permutations("ABC")))
def test_a_run_that_found_all_well_again_does_so_whenever_the_others_come(
    star: Star, order: tuple[str, ...]
) -> None:
    clocks = {"A": 1, "B": 2, "C": 3}
    for name in order:
        star.publish(report(name, clocks[name], {0: 1, 1: 2 if name == "B" else 1}))
    assert {w: said for w, (_, said) in star.current().items()} == {
        0: figures(0, 1),
        1: figures(1, 1),
    }


def test_a_run_published_again_changes_nothing_of_what_newer_ones_say(star: Star) -> None:
    star.publish(report("r1", 1, {0: 1, 1: 1}), report("r2", 2, {0: 1, 1: 1}))
    star.publish(report("r1", 1, {0: 2, 2: 1}))
    assert star.current() == {0: ("r2", figures(0, 1)), 1: ("r2", figures(1, 1))}
    star.publish(report("r1", 1, {0: 3, 2: 1}))
    assert star.current() == {0: ("r2", figures(0, 1)), 1: ("r2", figures(1, 1))}
    before = star.files()
    star.publish(report("r2", 2, {0: 1, 1: 1}))
    assert star.files() == before


def test_a_whole_run_that_is_published_narrowed_too_stays_whole(star: Star) -> None:
    contents = {0: 1, 1: 1, 8: 1}
    star.publish(report("r1", 1, contents))
    before = star.files()
    star.publish(narrow("r1", 1, {1: 1}, 1, 2))
    assert star.files() == before
    star.publish(narrow("r1", 1, {1: 2}, 1, 2))
    assert star.current() == {w: ("r1", figures(w, s)) for w, s in (contents | {1: 2}).items()}
    assert star.ask("SELECT verdict, interval_start FROM runs") == [("fail", None)]
    assert star.ask("SELECT sum(records)::BIGINT FROM flaw") == [(4,)]
    star.publish(report("r2", 2, contents | {1: 2}), narrow("r1", 1, {}, 0, 1))
    assert set(star.current()) == {0, 1, 8}


def test_a_run_that_is_published_narrowed_twice_speaks_of_the_windows_of_both(star: Star) -> None:
    star.publish(narrow("r2", 2, {0: 1}, 0, 2), narrow("r2", 2, {4: 1}, 4, 5))
    star.publish(report("r1", 1, dict.fromkeys(range(6), 2)))
    wanted = {0: 1, 2: 2, 3: 2, 4: 1, 5: 2}
    assert {w: said for w, (_, said) in star.current().items()} == {
        w: figures(w, seed) for w, seed in wanted.items()
    }


def test_a_run_published_twice_changes_no_file(star: Star) -> None:
    star.publish(report("r1", 1, {0: 1, 8: 1}))
    before = star.files()
    star.publish(report("r1", 1, {0: 1, 8: 1}))
    assert star.files() == before


def test_a_run_repeated_with_fewer_days_leaves_no_row_of_the_others(star: Star) -> None:
    star.publish(report("r1", 1, {0: 1, 8: 1}))
    assert len([name for name in star.files() if name.startswith("fact_balance")]) == 2
    star.publish(report("r1", 1, {8: 2}))
    assert star.current() == {8: ("r1", figures(8, 2))}
    rows = ds.dataset(f"{star.place.uri}/fact_balance", partitioning="hive").to_table()
    assert set(rows["day"].to_pylist()) == {"2026-03-02"}
    assert sum(rows["observed"].to_pylist()) == figures(8, 2)


def test_hourly_runs_publish_what_is_new_or_changed_and_nothing_else(star: Star) -> None:
    for hour in range(6):
        contents = dict.fromkeys(range(6 * hour + 6), 1)
        contents[0] = 1 + hour // 2  # each other run finds the first window changed
        star.publish(report(f"r{hour}", hour, contents))
    said = star.ask(
        """SELECT run, count(*) FROM star_statements WHERE live AND "window" IS NOT NULL
        GROUP BY ALL ORDER BY run"""
    )
    assert said == [("r0", 6), ("r1", 6), ("r2", 7), ("r3", 6), ("r4", 7), ("r5", 6)]


def test_restatements_tell_what_a_later_run_changed(star: Star) -> None:
    settled = [0, 1, 2, 3]
    star.publish(report("r1", 1, dict.fromkeys(settled, 0)))
    star.publish(report("r2", 2, {0: 0, 1: 0, 2: 3, 3: 0}))
    changed = star.ask(
        f"""SELECT run, run_before, (epoch_us("window") - {START}) // {WINDOW},
            sum(observed)::BIGINT FROM restatements GROUP BY ALL"""
    )
    both = star.ask(
        f"""SELECT bool_and(settled) FROM balance_history
        WHERE "window" = make_timestamptz({START + 2 * WINDOW}::BIGINT)"""
    )
    wanted = [("r2", "r1", 2, figures(2, 3) - figures(2, 0))]
    assert changed == (wanted if both == [(True,)] else [])
    history = star.ask(
        'SELECT run, current, count(DISTINCT "window") FROM balance_history'
        " GROUP BY ALL ORDER BY ALL"
    )
    assert history == [("r1", False, 1), ("r1", True, 3), ("r2", True, 1)]


def test_the_time_to_detect_ends_with_the_first_run_that_told_the_loss(star: Star) -> None:
    star.publish(report("r1", 4, {0: 1}), report("r2", 9, {0: 2}))
    found = star.ask(
        """SELECT stage, told_by, min(seconds_to_detect) FROM time_to_detect
        WHERE stage = 'lake' GROUP BY ALL ORDER BY ALL"""
    )
    lost = star.ask(
        "SELECT run, sum(lost) FROM balance_history WHERE stage = 'lake' GROUP BY run"
        " HAVING sum(lost) > 0 ORDER BY run"
    )
    assert lost
    assert found[0] == ("lake", lost[0][0], {"r1": 3, "r2": 8}[lost[0][0]] * 600.0)


class Failing(Place):
    """A star whose store fails at its n-th write or removal, and from then on."""

    left = 0

    @property
    def files(self) -> Filesystem:
        return Stopping(super().files)  # type: ignore[return-value]

    @property
    def grace(self) -> float:
        return 0.0


class Stopping:
    def __init__(self, inner: Filesystem) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, path: str, content: bytes) -> None:
        self.step()
        self.inner.write(path, content)

    def remove(self, path: str) -> None:
        self.step()
        self.inner.remove(path)

    @staticmethod
    def step() -> None:
        Failing.left -= 1
        if Failing.left < 0:
            raise OSError(None, "stopped")


def stopped(
    folder: Path, start: Star, changed: Report, stride: int = 1
) -> Iterator[tuple[int, Star]]:
    """What a publication leaves that was stopped at its first, second, ... write or removal."""
    for steps in range(0, 1000, stride):
        star = Star(folder / str(steps))
        shutil.copytree(start.place.uri, star.place.uri)
        Failing.left = steps
        with contextlib.suppress(StoreError):
            star.publish(changed, many=2, place=Failing(star.place.uri))
        through = Failing.left >= 0
        yield steps, star
        if through:
            assert steps > 10
            return


@pytest.fixture
def merged(tmp_path: Path) -> Star:
    """Runs that were merged, of which the newer two say of window 8 what the first does."""
    start = Star(tmp_path / "start")
    for name in ("r1", "r2", "r3"):
        start.publish(report(name, int(name[1]), {0: int(name[1]), 8: 1}), many=2)
    return start


def test_a_publication_that_stops_anywhere_leaves_the_run_as_it_was_or_as_it_becomes(
    tmp_path: Path, merged: Star
) -> None:
    """With a repeat of a run that was merged, and a merge: every kind of file is touched."""
    old = merged.current()
    changed = report("r3", 3, {0: 1, 7: 2})
    after = Star(tmp_path / "after")
    shutil.copytree(merged.place.uri, after.place.uri)
    after.publish(changed, many=2)
    new, seen = after.current(), set()
    for steps, star in stopped(tmp_path, merged, changed):
        found = star.current()
        assert found in (old, new)
        seen.add(json.dumps(found))
        if steps % 6 == 0:
            assert star.ask("SELECT sum(observed) FROM daily")[0][0] == sum(
                observed for _, observed in found.values()
            )
            star.publish(changed, many=2)
            assert star.current() == new
    assert len(seen) == 2


def test_a_publication_that_stops_anywhere_leaves_what_newer_runs_say(
    tmp_path: Path, merged: Star
) -> None:
    """With a repeat of the first run: it says nothing of window 8 any more, and something of 7."""
    wanted = {0: figures(0, 3), 8: figures(8, 1)}
    changed = report("r1", 1, {0: 1, 7: 2})
    for _, star in stopped(tmp_path, merged, changed, stride=3):
        assert {w: said for w, (_, said) in star.current().items()} == wanted


def test_publications_at_once_lose_no_row(star: Star) -> None:
    """Of runs of their own, with merges in between; and of the same run, of which one counts."""
    star.place.prepare()
    failed: list[StoreError] = []

    def publish(name: int) -> None:
        try:
            for again in range(3):
                run = 3 * name + again
                star.publish(narrow(f"r{run:02d}", run, {run: 1}, run, run + 1), many=3)
                star.publish(narrow("same", 50, {60 + name: 1}, 60, 70), many=3)
        except StoreError as error:
            failed.append(error)

    workers = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failed
    current = star.current()
    assert len([window for window in current if window >= 60]) == 1
    assert {w: v for w, v in current.items() if w < 60} == {
        run: (f"r{run:02d}", figures(run, 1)) for run in range(12)
    }


def test_readers_see_whole_runs_while_they_are_replaced(star: Star) -> None:
    """A reader counts over and over, while a run is replaced by one of other days and windows."""
    versions = [{0: 1, 1: 1, 8: 1}, {0: 2, 9: 2}]
    star.publish(report("r1", 1, versions[0]))
    wanted = {sum(figures(w, s) for w, s in each.items()) for each in versions}
    done, seen = threading.Event(), set()

    def read() -> None:
        while not done.is_set():
            with contextlib.suppress(duckdb.IOException):  # a file that was just removed
                seen.add(star.ask("SELECT sum(observed)::BIGINT FROM balance")[0][0])

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(6):
        star.publish(report("r1", 1, versions[(number + 1) % 2]))
    done.set()
    reader.join()
    assert seen == wanted


def test_windows_that_no_calendar_has_are_published_too(star: Star) -> None:
    far = (253_402_300_800_000_000 + 86_400_000_000 - START) // WINDOW  # the year 10000
    star.publish(report("r1", 1, {0: 1, far: 1}))
    assert star.current() == {w: ("r1", figures(w, 1)) for w in (0, far)}


def test_a_star_of_another_place_or_version_is_refused(star: Star, tmp_path: Path) -> None:
    (tmp_path / "star").mkdir()
    (tmp_path / "star" / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a star"):
        star.publish(report("r1", 1, {0: 1}))
    (tmp_path / "star" / "star.json").write_text('{"format": "Fidelity star", "version": 99}')
    with pytest.raises(StoreError, match="newer Fidelity"):
        star.publish(report("r1", 1, {0: 1}))


def test_a_damaged_star_is_told_with_what_to_do_about_a_star(star: Star) -> None:
    """By whoever reads the file: a publication, and the catalogue."""
    star.publish(report("r1", 1, {0: 1}))
    for table, told in (("dim_run", publish_again), ("fact_day", catalogue_again)):
        (*_, file) = sorted(Path(star.place.uri, table).glob("*.parquet"))
        whole = file.read_bytes()
        file.write_bytes(whole[:50])
        with pytest.raises(StoreError, match=r"the star cannot be read: .*") as caught:
            told(star)
        assert str(file) in str(caught.value)
        assert "Remove its folder, and publish the runs again" in str(caught.value)
        assert "\n" not in str(caught.value)
        file.write_bytes(whole)


def publish_again(star: Star) -> None:
    star.publish(report("r2", 2, {0: 1}))


def catalogue_again(star: Star) -> None:
    catalogue.make(star.place, Path(star.place.uri, catalogue.NAME))


def test_a_report_of_some_stages_is_not_published(star: Star) -> None:
    with pytest.raises(UsageError, match="some stages only"):
        publish_star(star.place, PIPELINE, report("r1", 1, {0: 1}, only=("lake",)))


def test_two_pipelines_may_share_a_star(star: Star) -> None:
    star.publish(report("r1", 1, {0: 1}))
    other = PIPELINE.model_copy(update={"name": "other"})
    publish_star(star.place, other, report("r1", 1, {0: 2}, pipeline="other"), many=2)
    found = star.ask("SELECT pipeline, sum(observed)::BIGINT FROM balance GROUP BY ALL ORDER BY 1")
    assert found == [("logs", figures(0, 1)), ("other", figures(0, 2))]
    assert star.ask("SELECT count(*) FROM dim_stage") == [(4,)]


def test_a_moved_star_is_read_where_it_is_now(star: Star, tmp_path: Path) -> None:
    star.publish(report("r1", 1, {0: 1}))
    current = star.current()
    shutil.move(star.place.uri, tmp_path / "moved" / "star")
    assert Star(tmp_path / "moved").current() == current


def test_the_reference_is_made_from_the_schema() -> None:
    assert PAGE.read_text("utf-8").partition(MARK)[2] == f"{reference()}\n"


def test_every_column_tells_its_meaning_in_the_files_too(star: Star) -> None:
    star.publish(report("r1", 1, {n: n for n in range(6)}))
    for table in TABLES:
        for path in Path(star.place.uri, table.name).rglob("*.parquet"):
            for column in ds.dataset(path).schema:
                assert column.metadata[b"meaning"], f"{table.name}.{column.name}"
                assert column.metadata[b"additive"] in (b"yes", b"no")
