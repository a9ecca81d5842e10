"""What scanning JSON lines costs, against DuckDB's bare read_json of the same four columns.

    python -m benchmarks.scan [--records 3000000] [--large 30000000] [--folder DIR]

Each measurement runs in a process of its own; those that are compared take turns, and the best of
several counts. A full scan is: plan, read, decode, observe, write, commit. What runs in one process
is measured by its processor time, so that other work on the machine does not count; workers by the
clock. The audit has two stages, which hold the same files: scan, reconcile, keep the run.
"""

import argparse
import importlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.generate import write_json_lines

PARTS = 4  # files of the large set
LIMITS = {
    "against DuckDB": 0.75,  # at most
    "two workers against one": 1.6,  # at least
    "memory, large against small": 1.1,  # at most
    "memory, MiB a worker": 1024,
    "observations, bytes a record": 0.1,
    "reconcile, large against small": 1.5,  # at most
    "audit with nothing new, against first": 0.15,
}
RECONCILED = 5  # times; the quickest counts
_AT_LEAST = ("two workers against one",)


def pipeline(folder: Path, store: Path) -> Any:
    from fidelity.config import Pipeline, Place, RecordSpec, Stage

    record = RecordSpec(
        format="json",
        id=Place(field="fid"),
        time=Place(field="ts"),
        stream=Place(field="type"),
        origin=Place(field="host"),
    )
    paths = (str(folder / "*.jsonl"),)
    source = Stage(name="source", kind="files", paths=paths, record=record)
    sink = Stage(name="sink", kind="files", paths=paths, record=record, after="source")
    return Pipeline(name="bench", store=str(store), stages=(source, sink))


def audit_here(folder: Path, store: Path) -> dict[str, float]:
    """A first audit by this process alone, its code loaded; then one with nothing new."""
    from fidelity import scheduler
    from fidelity.audit import audit, opened_store, reconcile, scan

    made = pipeline(folder, store)
    for name in scheduler.preloaded(made.stages):
        getattr(importlib.import_module(name), "warm", lambda: None)()
    scheduler.TINY = 1 << 62  # no worker process: this is the one
    opened_store(made, create=True)
    begun = time.process_time()
    (found,) = scan(made, stages=["source"], workers=1).stages
    scanned = time.process_time() - begun
    scan(made, stages=["sink"], workers=1)
    assert reconcile(made).report.verdict == "pass"
    first = time.process_time() - begun
    ledger = opened_store(made).ledger("source")
    begun = time.process_time()
    audit(made, workers=1)
    again = time.process_time() - begun
    units = [
        len([row for row in rows if row.unit.kind == "text"])
        for rows in (ledger, opened_store(made).ledger("source"))
    ]
    assert units[0] == units[1] == found.units
    files = (store / "observations").glob("*.parquet")
    return {
        "seconds": scanned,
        "audit": first,
        "again": again,
        "reconcile": min(_reconciled(made) for _ in range(RECONCILED)),
        "records": found.records,
        "observations": sum(path.stat().st_size for path in files) / 2,  # of two stages
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _reconciled(made: Any) -> float:
    from fidelity.audit import reconcile

    begun = time.process_time()
    reconcile(made, keep=False)
    return time.process_time() - begun


def scan_apart(folder: Path, store: Path, workers: int) -> dict[str, float]:
    """One full scan by worker processes, their start included, as `fidelity scan` does it."""
    from fidelity.scan import scan
    from fidelity.store import Store

    made = pipeline(folder, store)
    kept = Store.open(made.store, made.name)
    begun = time.perf_counter()
    found = scan(made, kept, ["source"], workers=workers)
    return {"seconds": time.perf_counter() - begun, "records": found.stages[0].records}


def duckdb_reads(folder: Path) -> dict[str, float]:
    """DuckDB, one thread, the same four columns and nothing else."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    columns = "{fid: 'VARCHAR', ts: 'VARCHAR', \"type\": 'VARCHAR', host: 'VARCHAR'}"
    question = (
        'SELECT count(fid), count(ts), count("type"), count(host), count(*) FROM read_json('
        f"'{folder}/*.jsonl', format = 'newline_delimited', columns = {columns})"
    )
    begun = time.process_time()
    found = connection.execute(question).fetchall()[0]
    return {"seconds": time.process_time() - begun, "records": found[4]}


MEASURES: dict[str, Callable[[Path, Path], dict[str, float]]] = {
    "here": audit_here,
    "duckdb": lambda folder, _: duckdb_reads(folder),
    "one": lambda folder, store: scan_apart(folder, store, 1),
    "two": lambda folder, store: scan_apart(folder, store, 2),
}


def apart(measure: str, folder: Path, expected: int) -> dict[str, float]:
    """A measurement in a process of its own, with a store of its own."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as store:
        command = [sys.executable, "-m", "benchmarks.scan", "--measure", measure]
        done = subprocess.run(
            [*command, "--folder", str(folder), "--store", f"{store}/store"],
            stdout=subprocess.PIPE,
            check=True,
        )
    found: dict[str, float] = json.loads(done.stdout)
    assert found["records"] == expected, found
    return found


def best(measures: list[str], folder: Path, records: int, runs: int) -> dict[str, dict[str, float]]:
    """The quickest of several runs of each, taking turns."""
    found: dict[str, dict[str, float]] = {}
    for _ in range(runs):
        for measure in measures:
            one = apart(measure, folder, records)
            if measure not in found or one["seconds"] < found[measure]["seconds"]:
                found[measure] = one
    for measure in measures:
        seconds = found[measure]["seconds"]
        print(f"{measure:8} {records:>11,} records {seconds / records * 1e9:7.1f} ns a record")
    return found


def data(folder: Path, records: int, parts: int) -> Path:
    """The records as files, made once."""
    done = folder / "done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        share = -(-records // parts)
        for part in range(parts):
            first = part * share
            count = min(share, records - first)
            write_json_lines(folder / f"{part}.jsonl", count, first, records)
        done.touch()
    return folder


def measured(folder: Path, small: int, large: int, runs: int) -> dict[str, float]:
    few = data(folder / f"json-{small}", small, 1)
    many = data(folder / f"json-{large}", large, PARTS)
    found = best(["duckdb", "here"], few, small, runs)
    pools = best(["one", "two"], many, large, max(1, runs - 1))
    alone = best(["here"], many, large, 1)["here"]
    here = found["here"]
    return {
        "against DuckDB": here["seconds"] / found["duckdb"]["seconds"],
        "two workers against one": pools["one"]["seconds"] / pools["two"]["seconds"],
        "memory, large against small": alone["memory"] / here["memory"],
        "memory, MiB a worker": alone["memory"],
        "observations, bytes a record": here["observations"] / small,
        "reconcile, large against small": alone["reconcile"] / here["reconcile"],
        "audit with nothing new, against first": alone["again"] / alone["audit"],
    }


def main() -> int:
    """Measure, print, and say by the exit status whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=3_000_000)
    parser.add_argument("--large", type=int, default=30_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(".build/bench"))
    parser.add_argument("--measure", choices=list(MEASURES))
    parser.add_argument("--store", type=Path)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(MEASURES[given.measure](given.folder, given.store)))
        return 0
    within = True
    for name, value in measured(given.folder, given.records, given.large, given.runs).items():
        least = name in _AT_LEAST
        holds = value >= LIMITS[name] if least else value <= LIMITS[name]
        within &= holds
        bound = f"{'at least' if least else 'at most'} {LIMITS[name]:g}"
        print(f"{name:38} {value:9.3f}  {bound:14} {'ok' if holds else 'MISSED'}")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
