"""Reports to be published, and what a star says, for the tests of the star."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from fidelity.config import Pipeline, Stage
from fidelity.report import BALANCES, DIFFERENCES, LAGS, Books, Collisions, Report, from_iso
from fidelity.star import Place, catalogue
from fidelity.star.write import publish_star

START = from_iso("2026-03-01T23:00:00Z")
WINDOW = 600_000_000
PIPELINE = Pipeline(
    name="logs",
    store="store",
    stages=(Stage(name="hosts", kind="files"), Stage(name="lake", kind="files", after="hosts")),
)
Contents = Mapping[int, int]
"""Window number -> what makes its figures differ."""


def report(run: str, as_of: int, contents: Contents, **more: Any) -> Report:
    """A report of windows, whose every figure depends on the number given for each."""
    balances = [row for w, seed in contents.items() for row in _balances(w, seed)]
    differences = [row for w, seed in contents.items() for row in _differences(w, seed)]
    lags = [row for w, seed in contents.items() for row in _lags(w, seed)]
    made = Report(
        "logs", run, START + as_of * WINDOW, None, "fail", None, WINDOW, 3 * WINDOW,
        Collisions(0.25, 0.0, "pairs"),
        (Books("hosts", None, None, 1, None, None, flaws={"malformed": as_of}),
         Books("lake", "hosts", "source", 1, 1, 1, flaws={"untimed": 2, "future": 1})),
        (),
        pa.Table.from_pylist(balances, schema=BALANCES),
        pa.Table.from_pylist(differences, schema=DIFFERENCES),
        (),
        pa.Table.from_pylist(lags, schema=LAGS),
    )  # fmt: skip
    return replace(made, **more)


def narrow(run: str, as_of: int, contents: Contents, first: int, end: int) -> Report:
    """A report narrowed to windows [first, end)."""
    return report(run, as_of, contents, within=(START + first * WINDOW, START + end * WINDOW))


def _balances(window: int, seed: int) -> Iterable[dict[str, Any]]:
    chance = random.Random(f"{window} {seed}")
    for stage, after, against in (("hosts", None, None), ("lake", "hosts", "source")):
        for stream in ("audit", "büro")[: 1 + chance.randrange(2)]:
            expected, lost, copies = chance.randrange(1, 2**40), chance.randrange(9), seed
            yield {
                "stage": stage, "after": after, "against": against,
                "window": START + window * WINDOW, "stream": stream,
                "observed": expected - lost + copies, "expected": expected if after else None,
                "delivered": expected - lost if after else None, "lost": lost, "in_flight": 0,
                "filtered": 0, "unaudited": 0, "duplicates": copies, "unexpected": 0,
                "completeness": 1 - lost / expected if after else None,
                "nines": chance.random() if lost else None, "nines_low": chance.random(),
                "nines_high": None, "measurable": chance.random() < 0.5,
                "evidence": "digest" if after else None,
                "verdict": "fail" if lost else "pass", "settled": chance.random() < 0.9,
                "reasons": ["lost"] * min(lost, 2), "surplus_shown": True,
            }  # fmt: skip


def _differences(window: int, seed: int) -> Iterable[dict[str, Any]]:
    chance = random.Random(f"differences {window} {seed}")
    for number in range(chance.randrange(4)):
        position = {"path": "a/b", "partition": None, "offset": chance.randrange(2**50)}
        yield {
            "stage": "lake", "against": "source", "window": START + window * WINDOW,
            "stream": "audit", "origin": f"host-{number}", "sequence": chance.choice([None, 7]),
            "id": chance.randrange(2**32), "kind": "lost", "copies": 1,
            "position": chance.choice([None, position]),
        }  # fmt: skip


def _lags(window: int, seed: int) -> Iterable[dict[str, Any]]:
    chance = random.Random(f"lags {window} {seed}")
    buckets = [{"bucket": n, "records": chance.randrange(99)} for n in range(chance.randrange(3))]
    yield {
        "stage": "lake", "window": START + window * WINDOW, "stream": "audit", "records": 100,
        "measured": 99, "settled": True, "seen": True, "p50_us": chance.randrange(2**50),
        "p90_us": None, "p99_us": 3, "max_us": 4, "buckets": buckets,
    }  # fmt: skip


class Star:
    """A star in a folder, and its catalogue."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(str(folder / "star"))

    def publish(self, *reports: Report, many: int = 24, place: Place | None = None) -> None:
        for each in reports:
            publish_star(place or self.place, PIPELINE, each, many)

    def ask(self, text: str) -> list[tuple[Any, ...]]:
        """Asked of the catalogue, as it is made for the star where it lies now."""
        with self.asked() as connection:
            return connection.execute(text).fetchall()

    def table(self, text: str) -> pa.Table:
        with self.asked() as connection:
            return connection.execute(text).to_arrow_table()

    def asked(self) -> duckdb.DuckDBPyConnection:
        catalogue.keep(self.place)
        file = f"{self.place.uri}/{catalogue.NAME}"
        connection = duckdb.connect(file, read_only=True)
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
        return connection

    def current(self) -> dict[int, tuple[str, int]]:
        """Of each window the run that speaks of it, and what it says: (run, sum of figures)."""
        rows = self.ask(
            f"""SELECT (epoch_us("window") - {START}) // {WINDOW}, run, sum(observed)::BIGINT
            FROM balance GROUP BY ALL"""
        )
        return {window: (run, observed) for window, run, observed in rows}

    def files(self) -> list[str]:
        """What is there, but for the catalogue and the empty files."""
        root = Path(self.place.uri)
        found = (path for path in root.rglob("*.parquet") if path.name != "none.parquet")
        return sorted(str(path.relative_to(root)) for path in found)


def figures(window: int, seed: int) -> int:
    """What `Star.current` should say of a window that was told so."""
    return sum(row["observed"] for row in _balances(window, seed))


if __name__ == "__main__":  # makes a fixture: see test_star_readers.py
    import shutil
    import sys

    from fidelity.star.schema import VERSION

    target = Path(__file__).parent / "data"
    shutil.rmtree(target / "star", ignore_errors=True)
    star = Star(target)
    for name, clock, contents in (("r1", 1, {0: 1, 1: 1}), ("r2", 2, {0: 3, 1: 1, 7: 2})):
        star.publish(report(name, clock, contents), many=2)
    sys.stdout.write(f"{star.current()}\n")
    Path(star.place.uri, catalogue.NAME).unlink()
    (target / "star").rename(target / f"star-v{VERSION}")
