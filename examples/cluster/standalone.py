"""Spark's own cluster manager: a master and two workers, from the installed pyspark.

with Cluster() as cluster:
    print(cluster.master)
    cluster.kill_executor()
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.processes import Process, ServerError, free_ports, require

_HERE = "127.0.0.1"
_START_SECONDS = 180.0
"""Three Java processes on a busy machine; it is a few on a quiet one."""


class Cluster:
    """A standalone cluster on this machine; each worker has one executor of one core.

    An executor ends with its worker, and a Python worker with its executor. Each worker is a host
    of its own, by its loopback address: speculation tries no task twice on one host.
    """

    def __init__(self, workers: int = 2, memory: str = "1g") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fidelity-spark-"))
        port, page, *pages = free_ports(2 + workers)
        self.master, self.page = f"spark://{_HERE}:{port}", f"http://{_HERE}:{page}"
        self._addresses = (port, page, pages)
        self._memory = memory
        self._master = Process("master", self.folder)
        self.workers = [Process(f"worker-{n}", self.folder) for n in range(workers)]

    def launch(self) -> Self:
        """Start all of it and return at once."""
        port, page, _ = self._addresses
        self._run(self._master, "master.Master", "--host", _HERE, "--port", port,
                  "--webui-port", page)  # fmt: skip
        for number in range(len(self.workers)):
            self.launch_worker(number)
        return self

    def launch_worker(self, number: int) -> None:
        """Start a worker, at first or again."""
        _, _, pages = self._addresses
        self._run(
            self.workers[number], "worker.Worker", "--host", f"127.0.0.{number + 1}", "--cores", 1,
            "--memory", self._memory, "--webui-port", pages[number],
            "--work-dir", self.folder / "work", self.master,
        )  # fmt: skip

    def wait(self) -> Self:
        """Return when the master knows all workers. Raises ServerError."""
        for process in (self._master, *self.workers):
            process.wait(self._complete, _START_SECONDS)
        return self

    def executors(self, worker: int) -> list[int]:
        """The process ids of a worker's executors."""
        return children(self.workers[worker].pid)

    def python_workers(self, worker: int) -> list[int]:
        """The Python processes that do tasks for a worker's executors."""
        daemons = [pid for executor in self.executors(worker) for pid in children(executor)]
        return [pid for daemon in daemons for pid in children(daemon)]

    def kill_worker(self, number: int) -> None:
        """End a worker at once; its executor goes with it."""
        self.workers[number].end(signal.SIGKILL)

    def kill_executor(self, worker: int = 0) -> None:
        """End a worker's executor at once; the worker will start another."""
        for pid in self.executors(worker):
            kill(pid)

    def stop(self) -> None:
        """End all of it, and remove its folder."""
        for process in (*self.workers, self._master):
            process.end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.launch().wait()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self, process: Process, main: str, *arguments: object) -> None:
        require("java", "openjdk-17-jre-headless")
        home = spark_home()
        process.launch(
            [home / "bin" / "spark-class", f"org.apache.spark.deploy.{main}",
             *(str(argument) for argument in arguments)],
            {
                "SPARK_HOME": str(home),
                "SPARK_LOCAL_IP": str(arguments[1]),
                "SPARK_DAEMON_MEMORY": "256m",
                "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
        )  # fmt: skip

    def _complete(self) -> bool:
        with (
            contextlib.suppress(OSError, ValueError),
            urllib.request.urlopen(f"{self.page}/json/", timeout=2) as answer,
        ):
            return bool(json.load(answer)["aliveworkers"] >= len(self.workers))
        return False


def spark_home() -> Path:
    """Where the installed pyspark has Spark. Raises ServerError."""
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise ServerError("pyspark is missing: pip install '.[spark]'.")
    return Path(found.origin).parent


def kill(pid: int) -> None:
    """End a process at once, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def children(pid: int | None) -> list[int]:
    """The process ids of a process's children, oldest first."""
    return [child for child, parent in _parents() if parent == pid]


def _parents() -> Iterator[tuple[int, int]]:
    for entry in sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        with contextlib.suppress(OSError):  # it has ended
            stat = Path(f"/proc/{entry}/stat").read_text()
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state != "Z":
                yield entry, int(parent)
