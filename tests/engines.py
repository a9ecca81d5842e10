"""Fixtures for Spark: one session for the whole test run, and tests that run on both engines.

`conftest.py` imports them. A module whose tests hold on both engines says
`pytestmark = pytest.mark.usefixtures("engine")`.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path

import pytest
from test_workers import until

from examples.cluster import Cluster
from examples.cluster.standalone import children
from fidelity.config import Engine
from fidelity.config.model import ENGINE_VARIABLE, ENGINES
from fidelity.spark.session import Session, session

CORES = 2


@pytest.fixture(scope="session")
def spark() -> Iterator[Session]:
    """A Spark session in this process. Whatever asks for Spark here from now on uses it."""
    opened = session(Engine(kind="spark", master=f"local[{CORES}]"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A master and two workers. Who kills a worker starts it again."""
    with Cluster() as started:
        yield started


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each engine in turn, as that of pipelines that name none."""
    if request.param == "spark":
        request.getfixturevalue("spark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENGINE_VARIABLE, request.param)
        yield request.param


class Driver:
    """A process that has a session on a cluster and scans on demand, while we disturb it."""

    def __init__(self, master: str, **conf: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.spark_driver", master, json.dumps(conf)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "ready"

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def ask(self, folder: Path, pattern: str, workers: int = 1) -> None:
        """Begin to scan folder/pattern, in so many times four tasks."""
        assert self._process.stdin is not None
        asked = {"folder": str(folder), "pattern": pattern, "workers": workers}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def answer(self) -> object:
        """How many records were counted, or the error."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and its Java process with it."""
        self._process.communicate(timeout=60)


def busy(executors: list[int], but: Set[int] = frozenset()) -> list[int]:
    """Of the executors' Python workers those that work, told by the processor time they use."""
    found: list[int] = []
    before: dict[int, int] = {}

    def working() -> bool:
        for pid in python_workers(executors):
            used = processor_time(pid)
            if used - before.setdefault(pid, used) >= 10 and pid not in but:
                found.append(pid)
        return bool(found)

    assert until(working, 120)
    return found


def python_workers(executors: list[int]) -> list[int]:
    """The processes that Python daemons of the executors have forked."""
    return [pid for top in executors for daemon in children(top) for pid in children(daemon)]


def processor_time(pid: int) -> int:
    """Hundredths of a second of a process so far; 0 if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0


def java(parent: int) -> list[int]:
    """A process's Java process: of a local session the driver and the executor in one."""
    return [
        pid
        for pid in children(parent)
        if b"java" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    ]


def kill(pid: int) -> None:
    """End a process at once, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
