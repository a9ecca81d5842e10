"""A real Spark cluster in which things die: the rows of an undisturbed run, or nothing at all."""

import gzip
import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from engines import Driver, busy, kill
from scans import LATER, data_files, in_force, lines, opened, pipeline
from test_workers import until

from examples.cluster import Cluster
from fidelity.config import Engine
from fidelity.scan import scan
from fidelity.store.compact import compact

pytestmark = pytest.mark.servers

RECORDS = 20_000
CONF = {
    "spark.executor.memory": "512m",
    # A task is tried elsewhere as soon as it takes longer than the others did.
    "spark.speculation": "true",
    "spark.speculation.interval": "50ms",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.multiplier": "3",
    "spark.speculation.minTaskRuntime": "1s",
}


@pytest.fixture(scope="module")
def driver(cluster: Cluster) -> Iterator[Driver]:
    """A session on the cluster, with speculation on."""
    started = Driver(cluster.master, **CONF)
    yield started
    started.close()


@cache
def block(number: int) -> bytes:
    """Records of a host, compressed."""
    return gzip.compress(lines(f"h{number}", 0, RECORDS), 1)


class Lake:
    """Gzip files that take a while, a task each, and what an undisturbed scan makes of them."""

    def __init__(self, folder: Path, files: int, blocks: int) -> None:
        self.folder, self.files, self.records = folder, files, files * blocks * RECORDS
        (folder / "source").mkdir()
        for number in range(files):
            content = block(number) * blocks
            (folder / "source" / f"{number}.jsonl.gz").write_bytes(content)
        self.made = pipeline(folder, source="source/*")
        self.store = opened(self.made)

    def asked(self, driver: Driver) -> None:
        """Begin to scan it, a task a file."""
        driver.ask(self.folder, "source/*", workers=self.files)

    def until_some_are_done(self) -> None:
        """Wait for the first data files: the scan is in the middle of its work."""
        folder = Path(self.store.observations_table.uri)
        assert until(lambda: any(path.suffix == ".parquet" for path in folder.iterdir()), 120)
        assert self.store.version() == 0

    def assert_undisturbed(self) -> None:
        """The rows are those of the local engine; what else was left behind can be cleared away."""
        other = self.made.model_copy(update={"store": str(self.folder / "undisturbed")})
        scan(other, opened(other), as_of=LATER, engine=Engine())
        assert in_force(self.store) == in_force(opened(other))
        compact(self.made, self.store, everything=True)
        assert in_force(self.store) == in_force(opened(other))
        assert len(data_files(self.store)) == 1


@pytest.fixture
def files(tmp_path: Path) -> Lake:
    return Lake(tmp_path, files=16, blocks=4)


@pytest.fixture
def slow(tmp_path: Path) -> Lake:
    return Lake(tmp_path, files=1, blocks=50)


def executors(cluster: Cluster) -> list[int]:
    return [pid for number in range(len(cluster.workers)) for pid in cluster.executors(number)]


def test_an_executor_that_is_killed_changes_no_row(
    cluster: Cluster, driver: Driver, files: Lake
) -> None:
    files.asked(driver)
    files.until_some_are_done()
    before = cluster.executors(0)
    assert len(before) == 1
    cluster.kill_executor(0)
    assert driver.answer() == files.records
    files.assert_undisturbed()
    assert until(lambda: cluster.executors(0) not in ([], before), 60)  # there is another


def test_a_worker_that_is_killed_changes_no_row(
    cluster: Cluster, driver: Driver, files: Lake
) -> None:
    files.asked(driver)
    files.until_some_are_done()
    cluster.kill_worker(1)
    assert driver.answer() == files.records
    files.assert_undisturbed()
    cluster.launch_worker(1)
    assert until(lambda: cluster.executors(1) != [], 60)


def test_a_task_that_fails_twice_changes_no_row(
    cluster: Cluster, driver: Driver, slow: Lake
) -> None:
    slow.asked(driver)
    killed: set[int] = set()
    for _ in range(2):
        for pid in busy(executors(cluster), killed):
            kill(pid)
            killed.add(pid)
    assert len(killed) >= 2
    assert slow.store.version() == 0
    assert driver.answer() == slow.records
    slow.assert_undisturbed()


def test_a_task_that_hangs_is_done_elsewhere_by_speculation(
    cluster: Cluster, driver: Driver, files: Lake
) -> None:
    files.asked(driver)
    files.until_some_are_done()
    frozen = busy(executors(cluster))[:1]
    os.kill(frozen[0], signal.SIGSTOP)
    try:
        assert driver.answer() == files.records
        files.assert_undisturbed()
    finally:
        kill(frozen[0])


def test_a_scan_whose_job_fails_for_good_leaves_the_store_as_it_was(
    cluster: Cluster, driver: Driver, slow: Lake
) -> None:
    slow.asked(driver)
    killed: set[int] = set()
    for _ in range(4):
        for pid in busy(executors(cluster), killed):
            kill(pid)
            killed.add(pid)
    error = driver.answer()
    assert isinstance(error, str)
    assert "a Python worker died in the middle of its task, 4 times" in error
    assert "\n" not in error
    assert slow.store.version() == 0
    assert in_force(slow.store) == []
    assert data_files(slow.store) == set()
    slow.asked(driver)
    assert driver.answer() == slow.records
    slow.assert_undisturbed()
