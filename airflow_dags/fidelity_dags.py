"""Airflow DAGs: one for each pipeline file of a folder. How to use it: docs/airflow.md.

A DAG's data interval is what it audits: the windows that begin in it, once they have settled.

    plan ─▶ scan, mapped over the stages with something new ─▶ reconcile ─▶ check
                                                                     └────▶ publish

Scans of stages run side by side, in any order: each only reads ahead what the ledger does not have.
What makes the stages comparable is that `reconcile` looks once more at all of them, in one scan
and from the source on: see fidelity/reconcile/looks.py. The work itself is done by fidelity.steps
in a process of its own, so Fidelity may live in another Python than Airflow (FIDELITY_PYTHON), and
nothing heavy is imported here.
"""

import importlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import DAG, BaseOperator, BaseOperatorLink, CronDataIntervalTimetable
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

Context = Any  # airflow.sdk.Context, a dict

_LOG = logging.getLogger("fidelity")
_SETTINGS = {
    "FIDELITY_PIPELINES": str(Path(__file__).with_name("pipelines")),
    "FIDELITY_PYTHON": sys.executable,
    "FIDELITY_SCHEDULE": "0 * * * *",
    "FIDELITY_START": "",
    "FIDELITY_RETRIES": "2",
    "FIDELITY_RETRY_SECONDS": "300",
    "FIDELITY_ON_FAILURE": "",
    "FIDELITY_REPORTS": "",
}
"""What the environment may say, and what counts where it does not."""
_MISTAKES = ("ConfigError", "UsageError")
"""What a second try cannot mend."""


def setting(name: str) -> str:
    """A setting of the environment, or its default."""
    return os.environ.get(name, "") or _SETTINGS[name]


class AuditFailed(AirflowFailException):
    """The verdict is `fail`: records are lost, doubled or unexpected."""


class AuditUnknown(AirflowFailException):
    """The verdict is `unknown`: what was seen is not enough to tell."""


class ReportLink(BaseOperatorLink):
    """The button that leads to the report of a task's run."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002
        """Where the report is: kept by the task that has just run."""
        return str(getattr(operator, "report", ""))


class Step(BaseOperator):
    """One step of an audit, done by fidelity.steps in a process of its own.

    Args:
        step: plan, scan, reconcile, check or publish.
        file: the pipeline file.
        stage: the stage to scan.
    """

    operator_extra_links = (ReportLink(),)

    def __init__(self, *, step: str, file: str, stage: str = "", **more: Any) -> None:
        super().__init__(**more)
        self.step, self.file, self.stage = step, file, stage
        self.report = ""
        self._process: subprocess.Popen[bytes] | None = None

    def execute(self, context: Context) -> Any:
        """Do the step; what it answers goes to XCom, and decides the task's state."""
        start, end = interval_of(context)
        tries = context["ti"]
        question = {
            "file": self.file, "dag": self.dag_id, "stage": self.stage,
            "start": start.isoformat(), "end": end.isoformat(),
            "last_try": tries.try_number > tries.max_tries,
        }  # fmt: skip
        answer = self._answered(question)
        if "wait" in answer:
            self._defer_to(datetime.fromisoformat(answer["wait"]))
        if "nothing" in answer:
            raise AirflowSkipException(answer["nothing"])
        if "report" in answer:
            self.report = link_to(answer["report"])
            self.log.info("The report is at %s", self.report)
        return self._judged(answer)

    def resumed(self, context: Context, event: Any = None) -> Any:  # noqa: ARG002
        """Go on after the windows have settled."""
        return self.execute(context)

    def on_kill(self) -> None:
        """End the step's process with the task."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)

    def _answered(self, question: dict[str, Any]) -> dict[str, Any]:
        """What the step's process answered. It logs by what it prints, and dies with the task."""
        python = setting("FIDELITY_PYTHON")
        with tempfile.TemporaryDirectory(prefix=f"fidelity-{self.dag_id}-") as folder:
            place = Path(folder, "answer.json")
            command = [python, "-m", "fidelity.steps", self.step, str(place)]
            try:
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
            except OSError as error:
                what = f"FIDELITY_PYTHON: `{python}` cannot be started: {error.strerror}"
                raise AirflowFailException(what) from None
            self._process.communicate(json.dumps(question).encode())
            if place.exists():
                answer: dict[str, Any] = json.loads(place.read_text())
                return answer
        raise AirflowException(_no_answer(self.step, python, self._process.returncode))

    def _judged(self, answer: dict[str, Any]) -> Any:
        """The answer's value; its error or verdict, raised."""
        if "error" in answer:
            mistake = answer["kind"] in _MISTAKES
            raise (AirflowFailException if mistake else AirflowException)(answer["error"])
        if self.step == "check" and answer["verdict"] != "pass":  # settled: nothing is pending
            verdict = AuditFailed if answer["verdict"] == "fail" else AuditUnknown
            raise verdict(answer["text"])
        return answer["value"]

    def _defer_to(self, moment: datetime) -> None:
        """Wait without a worker's slot: the triggerer wakes the task."""
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        self.log.info("The windows settle at %s; waiting for it without a slot", moment)
        self.defer(trigger=DateTimeTrigger(moment=moment), method_name="resumed")


def interval_of(context: Context) -> tuple[datetime, datetime]:
    """The data interval: what is audited. A run that was triggered without a date has none."""
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None or start >= end:
        what = "This run has no data interval, so there is nothing to audit. Give it a logical date"
        raise AirflowFailException(f"{what}: the last whole interval before it is audited.")
    return start.astimezone(UTC), end.astimezone(UTC)


def link_to(report: str) -> str:
    """A report's address; FIDELITY_REPORTS=<store>=<address> says where a store can be browsed."""
    for pair in setting("FIDELITY_REPORTS").split():
        store, _, address = pair.partition("=")
        if address and report.startswith(store.rstrip("/") + "/"):
            return address.rstrip("/") + report[len(store.rstrip("/")) :]
    return f"file://{report}" if report.startswith("/") else report


def failure_text(context: Context) -> str:
    """What went wrong, as text for any notifier: of a check its stages, streams, windows, counts.

    The first line says which task of which DAG failed and what it was about.
    """
    ti = context["ti"]
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    about = f" for {start:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}" if start and end else ""
    told = context.get("exception") or "see the task's log"
    return f"{ti.dag_id}: {ti.task_id} failed{about}\n{told}"


def on_failure(context: Context) -> None:
    """Log what failed, and hand it to the function that FIDELITY_ON_FAILURE names.

    It is called as function(text, context). If it fails itself, that is logged.
    """
    text, name = failure_text(context), setting("FIDELITY_ON_FAILURE")
    _LOG.error("%s", text)
    if name:
        try:
            module, _, function = name.replace(":", ".").rpartition(".")
            notify: Callable[[str, Context], object]
            notify = getattr(importlib.import_module(module), function)
            notify(text, context)
        except Exception:
            _LOG.exception("FIDELITY_ON_FAILURE: `%s` did not work", name)


def audit_dag(file: str | Path, dag_id: str = "", schedule: Any = "", **more: Any) -> DAG:
    """The DAG that audits one pipeline.

    Args:
        file: the pipeline file; it is read when a task runs, and may be wrong until then.
        dag_id: by default the file's name without its ending.
        schedule: a cron expression in UTC, or a timetable that has data intervals.
        more: of airflow.sdk.DAG, instead of what the settings say.
    """
    if isinstance(schedule, str):  # Airflow would make a timetable without intervals of it
        cron = schedule or setting("FIDELITY_SCHEDULE")
        schedule = CronDataIntervalTimetable(cron, timezone="UTC")
    path, begins = Path(file), setting("FIDELITY_START")
    broken = _broken(path)
    start = datetime.fromisoformat(begins or "2026-01-01")
    shape: dict[str, Any] = {
        "schedule": schedule,
        "start_date": start if start.tzinfo else start.replace(tzinfo=UTC),
        "catchup": bool(begins),
        "max_active_runs": 1,
        "tags": ["fidelity", *(["broken"] if broken else [])],
        "description": broken or f"Did every record arrive, once, at every stage? {path.name}",
        "doc_md": _page(path, broken),
        "default_args": {
            "retries": int(setting("FIDELITY_RETRIES")),
            "retry_delay": timedelta(seconds=float(setting("FIDELITY_RETRY_SECONDS"))),
            "on_failure_callback": on_failure,
        },
    }
    with DAG(dag_id or _id_of(path.stem), **(shape | more)) as dag:
        _steps(str(path))
    return dag


def _steps(file: str) -> None:
    """The tasks, and what waits for what.

    A stage that cannot be scanned does not keep the books from being closed: it is unknown in them.
    Backfills may have several runs at once; of what writes the books one runs at a time.
    """
    plan = Step(task_id="plan", step="plan", file=file)
    scan = Step.partial(
        task_id="scan", step="scan", file=file, map_index_template="{{ task.stage }}"
    ).expand(stage=plan.output)
    alone: dict[str, Any] = {"file": file, "max_active_tis_per_dag": 1}
    reconcile = Step(task_id="reconcile", step="reconcile", trigger_rule="all_done", **alone)
    check = Step(task_id="check", step="check", file=file)
    publish = Step(task_id="publish", step="publish", **alone)
    [plan, scan] >> reconcile >> [check, publish]


def _no_answer(step: str, python: str, status: int) -> str:
    if status < 0:
        why = f"was killed by signal {-status}, which is often for want of memory"
    else:
        why = f"ended with status {status}; why is in the log above"
    return f"`{python} -m fidelity.steps {step}` {why}. Fidelity must be installed for that Python."


def _id_of(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)


def _broken(file: Path) -> str:
    """Why the file cannot be a pipeline file; "" if it has the shape of one.

    Only the shape: what is in it may depend on variables that only the workers have.
    """
    try:
        value = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        return f"{file.name} cannot be read: {str(error).splitlines()[0]}"
    whole = isinstance(value, dict) and {"pipeline", "store", "stages"} <= value.keys()
    return "" if whole else f"{file.name} is not a pipeline file: it needs pipeline, store, stages"


def _page(file: Path, broken: str) -> str:
    told = f"**{broken}. Every run fails until it is mended.**\n\n" if broken else ""
    return (
        f"{told}Audits the pipeline of `{file}`: the windows of event time that begin in a run's "
        "data interval, once they have settled. To audit an hour again, clear its run; to audit "
        "the past, make a backfill."
    )


def _dags(files: Iterable[Path]) -> Sequence[DAG]:
    """A DAG for each file. Of two that have one name the later one is called by its whole name."""
    made: dict[str, DAG] = {}
    for file in files:
        name = _id_of(file.stem)
        name = _id_of(file.name) if name in made else name
        made[name] = audit_dag(file, name)
    return list(made.values())


for _dag in _dags(
    sorted(
        file
        for file in Path(setting("FIDELITY_PIPELINES")).expanduser().glob("*.y*ml")
        if file.suffix in (".yaml", ".yml")
    )
):
    globals()[f"dag_{_dag.dag_id}"] = _dag
