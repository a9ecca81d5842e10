"""A real Airflow 3 on this machine: scheduler, DAG processor, API server, triggerer and SQLite.

with Airflow(folder) as airflow:
    airflow.get("dags")
    airflow.command("backfill", "create", ...)
"""

import contextlib
import json
import os
import secrets
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM
from types import TracebackType
from typing import Any, Self

from examples.airflow.environment import ENVIRONMENT, FOLDER, fetched
from examples.processes import ROOT, Process, ServerError, free_ports, locked, made

_PATIENCE = "patience"  # a module beside the database
_DIE_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    library = ctypes.CDLL(None)
    os.register_at_fork(after_in_child=lambda: library.prctl(1, 9))  # PR_SET_PDEATHSIG, SIGKILL
"""
"""What Airflow forks (the scheduler its workers, these their tasks) would outlive it otherwise."""
_COMPONENTS = ("api-server", "dag-processor", "scheduler", "triggerer")


class Airflow:
    """One Airflow, whose DAGs are those of airflow_dags/, for the pipeline files of a folder.

    Args:
        folder: AIRFLOW_HOME, whose modules can be imported. The pipeline files go into `pipelines`
            below it.
        settings: more variables, FIDELITY_* among them.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.pipelines = folder, folder / "pipelines"
        self.pipelines.mkdir(parents=True, exist_ok=True)
        api, logs, triggers = free_ports(3)
        self.address = f"http://127.0.0.1:{api}"
        self.environment = _environment(folder, self.address, logs, triggers) | {
            "FIDELITY_PIPELINES": str(self.pipelines),
            "PYTHONPATH": str(folder),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": f"{_PATIENCE}.CONNECT",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC": f"{_PATIENCE}.CONNECT",
            **settings,
        }  # fmt: skip
        self.processes = [Process(f"airflow-{name}", folder) for name in _COMPONENTS]
        self.start_seconds = 0.0  # what starting took: how busy this machine is
        self._token = ""

    def __enter__(self) -> Self:
        self.prepare()
        try:
            self.launch()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def prepare(self) -> None:
        """An empty database, which is all that commands need. Does nothing if it is there."""
        fetched()
        if (self.folder / "airflow.db").exists():
            return
        shutil.copy(_empty_database(), self.folder / "airflow.db")
        # SQLite has one writer at a time, and gives up after 5 s where it is not told otherwise.
        (self.folder / f"{_PATIENCE}.py").write_text('CONNECT = {"timeout": 120}\n')
        (self.folder / "sitecustomize.py").write_text(_DIE_WITH_PARENT)

    def launch(self) -> None:
        """Start all processes; return when the API answers. Raises ServerError."""
        began = time.monotonic()
        for name, process in zip(_COMPONENTS, self.processes, strict=True):
            process.launch([ENVIRONMENT / "bin" / "airflow", name], self.environment)
        self.until(self._answers, "answering")
        self.start_seconds = time.monotonic() - began

    def stop(self) -> None:
        """End all processes, those that take new work first, and the tasks that still run."""
        tasks = [each for process in self.processes for each in family(process.pid or 0)]
        for process in reversed(self.processes):
            process.end(SIGKILL if process.name.endswith("triggerer") else SIGTERM)
        for task in tasks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(task, SIGKILL)

    def command(self, *arguments: str, **settings: str) -> str:
        """What an `airflow` command printed, its log included. Raises ServerError if it failed."""
        command = [str(ENVIRONMENT / "bin" / "airflow"), *arguments]
        return made(command, f"run airflow {arguments[0]}", "", self.environment | settings)

    def get(self, path: str) -> Any:
        """What the API answers."""
        return self._ask("GET", path, None)

    def send(self, method: str, path: str, **body: Any) -> Any:
        """What the API answers to a change."""
        return self._ask(method, path, body)

    def until(
        self, wanted: Callable[[], Any], what: str, seconds: float = 400, every: float = 1
    ) -> Any:
        """The first true value of `wanted`. Raises ServerError when it takes too long."""
        deadline = time.monotonic() + seconds
        while not (found := wanted()):
            dead = [process for process in self.processes if process.pid is None]
            if dead or time.monotonic() > deadline:
                tail = (dead or self.processes)[0].tail()
                raise ServerError(f"Airflow did not come to {what}. It said:\n{tail}")
            time.sleep(every)
        return found

    def _answers(self) -> bool:
        try:
            self._token = self._ask("GET", "/auth/token", None)["access_token"]
        except (OSError, ValueError):
            return False
        return True

    def _ask(self, method: str, path: str, body: Any) -> Any:
        address = self.address + (path if path.startswith("/") else f"/api/v2/{path}")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            told = error.read()[:2000].decode(errors="replace")
            raise ServerError(f"{method} {path}: {error.code} {told}") from None


def family(process: int) -> Iterator[int]:
    """All processes that hang on one (0: on none), where there is a /proc."""
    with contextlib.suppress(OSError):
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            for child in map(int, children.read_text().split()):
                yield child
                yield from family(child)


def _environment(folder: Path, address: str, logs: int, triggers: int) -> dict[str, str]:
    """Settings of an Airflow that stays on this machine and does not idle."""
    port = address.rpartition(":")[2]
    settings: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": ROOT / "airflow_dags", "load_examples": False, "executor":
            "LocalExecutor", "parallelism": 4, "dags_are_paused_at_creation": True,
            "simple_auth_manager_all_admins": True, "fernet_key": "",
            "execution_api_server_url": f"{address}/execution/",
            "min_serialized_dag_update_interval": 0, "dagbag_import_timeout": 300,
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{folder}/airflow.db"},
        "api": {"host": "127.0.0.1", "port": port, "base_url": address, "secret_key": "tests",
                "maximum_page_limit": 1000},
        "api_auth": {"jwt_secret": secrets.token_hex(32)},
        "logging": {
            "base_log_folder": folder / "logs", "logging_level": "INFO",
            "worker_log_server_port": logs, "trigger_log_server_port": triggers,
            "worker_log_server_host": "127.0.0.1",
        },
        "scheduler": {
            "scheduler_idle_sleep_time": 0.3, "job_heartbeat_sec": 2, "scheduler_heartbeat_sec": 2,
            "task_instance_heartbeat_sec": 0, "enable_health_check": False,
            "use_row_level_locking": False,
        },
        "dag_processor": {
            "parsing_processes": 1, "min_file_process_interval": 10, "refresh_interval": 10,
            "bundle_refresh_check_interval": 1, "dag_file_processor_timeout": 300,
        },
        "workers": {"execution_api_timeout": 120},  # a busy machine is not a broken one
        "triggerer": {"triggerer_health_check_threshold": 300},
        "usage_data_collection": {"enabled": False},
    }  # fmt: skip
    named = {
        f"AIRFLOW__{section.upper()}__{name.upper()}": str(value)
        for section, values in settings.items()
        for name, value in values.items()
    }
    return {**named, "AIRFLOW_HOME": str(folder), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def _empty_database() -> Path:
    """A database with Airflow's tables and nothing in them: making one takes longer than a test."""
    empty = FOLDER / "empty.db"
    stamp, wanted = FOLDER / "empty.db.made-from", (FOLDER / "made-from").read_text()
    with locked(FOLDER):
        if not (stamp.exists() and stamp.read_text() == wanted):
            draft = FOLDER / "draft"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            airflow = str(ENVIRONMENT / "bin" / "airflow")
            settings = _environment(draft, "http://127.0.0.1:0", 0, 0)
            made([airflow, "db", "migrate"], "make Airflow's database", "", settings)
            os.replace(draft / "airflow.db", empty)
            stamp.write_text(wanted)
    return empty
