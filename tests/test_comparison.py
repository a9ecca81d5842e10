"""The comparison with other tools: what was planted is what they find, and is told as it is."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import compare, plot, processes
from benchmarks.contenders import CONTENDERS, IDS_ONLY, from_observations, with_scans
from benchmarks.lakes import Lakes, Planted, lakes

PLANTED = Planted(10, 5)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Lakes:
    (made,) = lakes(tmp_path_factory.mktemp("lakes"), 30_000, [PLANTED])
    return made


def test_the_lakes_hold_what_was_planted_and_nothing_else(pair: Lakes) -> None:
    sides = [pq.read_table(side).drop_columns(["payload"]) for side in (pair.source, pair.sink)]
    assert [len(side) for side in sides] == [30_000, 30_000 - 10 + 5]
    rows = [side.to_pylist() for side in sides]
    keys = [[(row["type"], row["host"], row["fid"]) for row in side] for side in rows]
    assert len(set(keys[0])) == 30_000
    truth = pair.truth().to_pylist()
    lost = {(row["type"], row["host"], row["fid"]) for row in truth if row["kind"] == "lost"}
    assert set(keys[0]) - set(keys[1]) == lost
    assert len(lost) == 10


@pytest.mark.parametrize(
    "name", [name for name in CONTENDERS if name.startswith("DuckDB")], ids=str
)
def test_every_exact_diff_names_what_was_planted(pair: Lakes, tmp_path: Path, name: str) -> None:
    _, found = CONTENDERS[name](pair.source, pair.sink, tmp_path)
    assert compare._judged(pair, name, [list(row) for row in found]) == (10, 5, 0)
    assert (name in IDS_ONLY) == all(row[0] is None for row in found)


def test_fidelity_names_it_with_scans_and_from_observations(pair: Lakes, tmp_path: Path) -> None:
    store = tmp_path / "store"
    scanned = with_scans(pair.source, pair.sink, store)
    observed = from_observations(pair.source, pair.sink, store)
    assert sorted(scanned[1]) == sorted(observed[1])
    assert compare._judged(pair, "", [list(row) for row in observed[1]]) == (10, 5, 0)


def test_a_contender_that_fails_or_takes_too_long_is_told_so(pair: Lakes) -> None:
    failed = processes.run(["python3", "-c", "raise SystemExit('no room')"], 30)
    row = compare._row(pair, "reladiff", failed)
    assert (row.work, row.said) == (None, "no room")
    late = processes.run(["sleep", "30"], 0.2)
    row = compare._row(pair, "reladiff", late)
    assert (row.work, row.said) == (None, "its time was over")
    assert "-" in compare.table([row], pair)


def test_memory_is_that_of_the_whole_process_tree() -> None:
    child = "import time; held = bytearray(60 << 20); time.sleep(0.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    alone = processes.run(["python3", "-c", "import time; time.sleep(0.5)"], 30)
    both = processes.run(["python3", "-c", parent], 30)
    assert both.pss - alone.pss >= 60 << 20


def test_the_plot_shows_every_contender_and_who_gave_no_answer(tmp_path: Path) -> None:
    about = {"records": 30_000, "planted": "10+5", "pss": 100.0}
    rows = [
        {"contender": "DuckDB <x>", "work": 2.0, **about},
        {"contender": "reladiff", "work": None, **about},
    ]
    svg = plot.drawn(rows, json.dumps("2 cores"))
    assert "DuckDB &lt;x&gt;" in svg
    assert svg.count("no answer") == 2
    assert svg.count("<rect") == 2


def test_the_page_gets_the_tables_and_keeps_its_words() -> None:
    about = {"records": 30_000, "pss": 100.0, "whole": 2.5, "wrong": 0, "said": "no | room"}
    named = {"work": 2.0, "lost": 10, "duplicates": 5}
    rows = [
        {"contender": "DuckDB", "planted": "10+5", **named, **about},
        {"contender": "reladiff", "planted": "10+5", "work": None, **about},
    ]
    page = f"before {plot.BEGIN} old {plot.END} after"
    made = plot.figures(page, rows, "2 cores")
    assert made.startswith("before ")
    assert made.endswith(" after")
    assert " old " not in made
    assert "| DuckDB | 2.0 s | 2.5 s | 100 MB | 10 | 5 | 0 |" in made
    assert "| reladiff | - | 2.5 s | 100 MB | no / room | - | - |" in made
    assert plot.figures(made, rows, "2 cores") == made
