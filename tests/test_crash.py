"""Killed at any moment: what counts is what an undisturbed run would have counted."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scans import LATER, Victim, append, data_files, in_force, lines, opened, pipeline

from fidelity import scheduler
from fidelity.config import Pipeline
from fidelity.scan import scan
from fidelity.store.compact import compact


def made_in(folder: str | Path) -> Pipeline:
    """A source and a sink; what was scanned with a clock far ahead counts as old."""
    made = pipeline(Path(folder), source="", sink="sink/*.jsonl")
    return made.model_copy(update={"settle": -(2**62)})


def scan_here(folder: str) -> None:
    made = made_in(folder)
    scan(made, opened(made), as_of=LATER)


def scan_in_workers(folder: str) -> None:
    scheduler.TINY, scheduler.SMALLEST_TASK = 0, 1
    made = made_in(folder)
    scan(made, opened(made), as_of=LATER, workers=2)


def compact_here(folder: str) -> None:
    made = made_in(folder)
    compact(made, opened(made))


@pytest.fixture
def victim() -> Iterator[Victim]:
    found = Victim()
    yield found
    found.close()


def grow(folder: Path, number: int, count: int = 200) -> None:
    for origin in ("h1", "h2", "h3"):
        append(folder / "source" / f"{origin}.jsonl", lines(origin, count * number, count))
        append(folder / "sink" / f"{origin}-{number}.jsonl", lines(origin, count * number, count))


def undisturbed(folder: Path) -> list[dict[str, object]]:
    made = made_in(folder).model_copy(update={"store": str(folder / "fresh")})
    store = opened(made)
    scan(made, store, as_of=LATER)
    return in_force(store)


def life_of(victim: Victim, function: str, folder: Path) -> float:
    """Seconds that it takes when it is left alone."""
    begun = time.monotonic()
    assert not victim.run(function, str(folder), 60)
    return time.monotonic() - begun


@pytest.mark.parametrize(("function", "kills"), [("scan_here", 12), ("scan_in_workers", 4)])
def test_a_scan_killed_at_any_moment_and_run_again_counts_what_an_undisturbed_one_does(
    victim: Victim, tmp_path: Path, function: str, kills: int
) -> None:
    grow(tmp_path, 0)
    life = life_of(victim, function, tmp_path)
    chance = random.Random(kills)
    killed = tries = 0
    while killed < kills and tries < 3 * kills:
        tries += 1
        grow(tmp_path, tries, 20)
        killed += victim.run(function, str(tmp_path), chance.random() * life)
    assert killed == kills
    made = made_in(tmp_path)
    scan(made, opened(made), as_of=LATER)
    assert in_force(opened(made)) == undisturbed(tmp_path)


def test_a_compaction_killed_at_any_moment_changes_no_sum(victim: Victim, tmp_path: Path) -> None:
    made = made_in(tmp_path)
    store = opened(made)
    chance = random.Random(1)
    killed = 0
    for n in range(6):
        grow(tmp_path, n, 20)
        scan(made, store, as_of=LATER)
        grow(tmp_path, n + 100, 20)
        scan(made, store, as_of=LATER)
        expected = in_force(store)
        killed += victim.run("compact_here", str(tmp_path), chance.random() * 0.3)
        assert in_force(store) == expected
    assert killed >= 3
    compact(made, store)
    assert in_force(store) == expected == undisturbed(tmp_path)
    compact(made, store, everything=True)
    assert in_force(store) == expected
    assert len(data_files(store)) == 2
