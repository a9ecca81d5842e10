"""What the tests of scanning share: small stamped log files, and what a store holds in force."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from fidelity.config import Pipeline, RecordSpec, Stage
from fidelity.identity import ids_of, producer_seed
from fidelity.observe.observations import OBSERVATIONS, merge
from fidelity.questions import connect
from fidelity.reconcile import reconcile
from fidelity.report import Books
from fidelity.store import Store

START = 1_767_225_600  # 2026-01-01T00:00Z, seconds
LATER = (START + 365 * 86_400) * 1_000_000  # a clock that finds everything settled


def lines(origin: str, first: int, count: int, step: int = 3, stream: str = "app") -> bytes:
    """JSON lines of one producer, one record every `step` seconds."""
    import numpy as np

    numbers = np.arange(first, first + count, dtype=np.uint32)
    ids = ids_of(numbers, producer_seed(stream, origin))
    made = [
        {"ts": START + number * step, "stream": stream, "origin": origin, "fid": f"{id:08x}"}
        for number, id in zip(numbers.tolist(), ids.tolist(), strict=True)
    ]
    return "".join(json.dumps(record) + "\n" for record in made).encode()


def append(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(content)


def pipeline(folder: Path, store: str = "store", **patterns: str) -> Pipeline:
    """A pipeline of JSON files; its stages follow each other and read folder/<pattern>."""
    names = list(patterns or {"source": ""})
    stages = [
        Stage(
            name=name,
            kind="files",
            after=None if n == 0 else names[n - 1],
            paths=(str(folder / (patterns.get(name) or f"{name}/*.jsonl")),),
            record=RecordSpec(format="json"),
        )
        for n, name in enumerate(names)
    ]
    return Pipeline(name="p", store=str(folder / store), stages=tuple(stages))


def opened(made: Pipeline) -> Store:
    return Store.open(made.store, made.name)


def in_force(store: Store) -> list[dict[str, object]]:
    """What counts, added up by stage, window and stream: the same whatever units it came in."""
    snapshot = store.at()
    with connect() as connection:
        connection.register("observations", snapshot.observations())
        connection.register("in_force", snapshot.in_force())
        question = (
            "SELECT * REPLACE ('' AS scan, '' AS unit) FROM observations AS o SEMI JOIN in_force "
            "AS f ON o.stage = f.stage AND o.scan = f.scan AND o.unit = f.unit"
        )
        rows = connection.execute(question).to_arrow_table().cast(OBSERVATIONS)
    found: list[dict[str, object]] = merge(rows).to_pylist() if rows.num_rows else []
    return found


def books(made: Pipeline) -> tuple[Books, ...]:
    """The totals that a report of the store has, without what names the run."""
    ledger = [row for stage in made.stages for row in opened(made).ledger(stage.name)]
    return reconcile(made, ledger, opened(made).observations(), as_of=LATER, run="r").stages


def records(store: Store) -> int:
    return sum(int(str(row["records"])) for row in in_force(store))


def tables_of(store: Store) -> Iterable[pa.Table]:
    return (store.observations().to_table(), store.at().in_force())


def data_files(store: Store) -> set[str]:
    """Files of observations, whether or not a version has them."""
    folder = Path(store.observations_table.uri)
    return {path.name for path in folder.iterdir() if path.is_file()}


HARNESS = """
import os, select, sys, time
sys.path.insert(0, {tests!r})
import fidelity.decode, fidelity.observe.observer, fidelity.sources.text, fidelity.sources.files
import test_crash
print("ready", flush=True)
for line in sys.stdin:
    seconds, name, argument = line.rstrip("\\n").split(" ", 2)
    child = os.fork()
    if child == 0:
        getattr(test_crash, name)(argument)
        os._exit(0)
    ended, _, _ = select.select([os.pidfd_open(child)], [], [], float(seconds))
    os.kill(child, 9)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Victim:
    """Runs functions of test_crash in processes that are killed after a while.

    The processes are forks of one that has imported everything and has no threads, so that nearly
    all of their life is work.
    """

    def __init__(self) -> None:
        code = HARNESS.format(tests=str(Path(__file__).parent))
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ask("")

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def run(self, function: str, argument: str, seconds: float) -> bool:
        """Whether it was killed before it came to its end."""
        status = self._ask(f"{seconds} {function} {argument}\n")
        assert status in ("0", "-9")
        return status == "-9"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
