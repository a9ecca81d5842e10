"""The steps of an audit that a scheduler runs one by one: what the tasks of an Airflow DAG do.

Plain values in, plain values out, each step in a process of its own:

    python -m fidelity.steps STEP ANSWER < question.json

The question names the pipeline file and the interval of event time [start, end) to audit: the
windows that begin in it. What a person should read is printed; the answer, or the error, is the
JSON file ANSWER. A step run twice gives the same rows: a run is named after its DAG and interval.
"""

import ctypes
import gc
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from fidelity.config import Pipeline, load, mask
from fidelity.errors import FidelityError, SourceError, UsageError

Answer = dict[str, Any]
"""`value`; or `wait`: a moment to ask again, `nothing`: why there is nothing to do, or `error`.
Beside a value, `report`: where the run's report is. `verdict` and `text` are those of a check."""

_MOST_ROWS = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Interval:
    """What one run of a DAG audits.

    Args:
        file: the pipeline file.
        dag: the DAG's id.
        start, end: event time, [start, end).
        stage: the stage to scan.
        last_try: whether a step that fails now is not tried again.
    """

    file: str
    dag: str
    start: datetime
    end: datetime
    stage: str = ""
    last_try: bool = True

    @cached_property
    def pipeline(self) -> Pipeline:
        """What the file says. Raises ConfigError."""
        return load(self.file)

    @property
    def windows(self) -> tuple[int, int]:
        """[from, to) of the windows that begin in the interval, microseconds on their grid."""
        length = self.pipeline.window
        first, last = (-(-_microseconds(time) // length) for time in (self.start, self.end))
        return first * length, last * length

    @property
    def as_of(self) -> int:
        """When the last of the windows settles, microseconds: the clock that the run is judged by,
        so that a run made later judges as one made in time would have."""
        return self.windows[1] + self.pipeline.settle

    @property
    def settled(self) -> datetime:
        """The same moment."""
        return _EPOCH + timedelta(microseconds=self.as_of)

    @property
    def run(self) -> str:
        """The run's name. Names sort by `as_of`, as those of other runs do."""
        return f"{self.settled:%Y%m%dT%H%M%S.%fZ}-{self.dag}-{self.start:%Y%m%dT%H%M%SZ}"


def plan(asked: Interval) -> Answer:
    """The stages that have something to scan, once the windows have settled."""
    start, end = asked.windows
    if start == end:
        length = timedelta(microseconds=asked.pipeline.window)
        return {"nothing": f"No window of {length} begins between {asked.start} and {asked.end}."}
    if asked.settled > datetime.now(UTC):
        return {"wait": asked.settled.isoformat()}
    from fidelity import audit

    stages = audit.something_new(asked.pipeline)
    print(f"Run {asked.run} is judged as of {asked.settled:%Y-%m-%dT%H:%M:%SZ}.")
    print(f"To scan: {', '.join(stages) or 'nothing new at any stage'}.")
    return {"value": list(stages)}


def scan(asked: Interval) -> Answer:
    """What is new at the stage, read ahead of the run's own look. Raises SourceError."""
    from fidelity import audit
    from fidelity.cli import scanned

    found = audit.scan(asked.pipeline, stages=[asked.stage])
    print("\n".join(scanned.as_lines(found)))
    for error in found.errors:
        raise error
    (stage,) = found.stages
    return {"value": {"units": stage.units, "records": stage.records, "bytes": stage.bytes}}


def reconcile(asked: Interval) -> Answer:
    """The books, after one look at all stages. The run is kept; its part of them is printed.

    While there are tries left, a stage that cannot be looked at is an error, since it may be back
    by then; at last the books are closed without it. Raises the stage's error.
    """
    if asked.windows[0] == asked.windows[1]:
        return plan(asked)
    if asked.settled > datetime.now(UTC):
        action = "Run it again after that."
        raise UsageError(f"Its windows settle at {asked.settled}.", where=asked.run, action=action)
    from fidelity import audit
    from fidelity.cli.output import console
    from fidelity.report import terminal
    from fidelity.report.narrow import narrowed

    found = audit.audit(asked.pipeline, as_of=asked.as_of, run=asked.run)
    told = narrowed(found.report, (), asked.windows)
    terminal.render(told, console(sys.stdout))
    for error in found.errors:
        _complain(error)
        if not asked.last_try or not isinstance(error, SourceError):
            raise error
    return {"value": told.verdict, "report": _kept_at(asked)}


def check(asked: Interval) -> Answer:
    """The verdict on the interval's windows, by the pipeline's targets."""
    from fidelity import audit
    from fidelity.check.alarm import alarm
    from fidelity.cli import checked
    from fidelity.cli.output import console

    found = audit.check(asked.pipeline, run=asked.run, window=asked.windows)
    if found.verdict == "pending":  # all windows have settled, so there are none: nothing was seen
        found = replace(found, verdict="unknown")
    checked.render(found, console(sys.stdout), _MOST_ROWS)
    for error in found.errors:
        _complain(error)
    return {
        "value": found.verdict,
        "verdict": found.verdict,
        "text": mask(alarm(found)),
        "report": mask(found.place) or _kept_at(asked),
    }


def publish(asked: Interval) -> Answer:
    """The run's numbers, wherever the pipeline file wants them."""
    from fidelity import audit
    from fidelity.publish import destinations
    from fidelity.publish import publish as published

    if not destinations(asked.pipeline):
        return {"nothing": "The pipeline file names nothing to publish to."}
    done = published(asked.pipeline, audit.kept(asked.pipeline, run=asked.run).report)
    told = [f"{each.destination}: {each.what} to {each.where}" for each in done]
    print("\n".join(told))
    return {"value": told}


STEPS: dict[str, Callable[[Interval], Answer]] = {
    "plan": plan, "scan": scan, "reconcile": reconcile, "check": check, "publish": publish,
}  # fmt: skip


def main(step: str, place: str) -> int:
    """Do a step that stdin asks for, and leave its answer. Returns the exit status."""
    gc.set_threshold(100_000)  # most of a step is starting: what is imported stays
    _die_with_parent()
    asked: dict[str, Any] = json.load(sys.stdin)
    for name in ("start", "end"):
        asked[name] = datetime.fromisoformat(asked[name])
    try:
        answer = STEPS[step](Interval(**asked))
    except FidelityError as error:
        answer = {"error": mask(str(error)), "kind": type(error).__name__}
        _complain(error)
    # Whole or not at all: the process may be killed at any moment.
    draft = Path(f"{place}.draft")
    draft.write_text(json.dumps(answer), "utf-8")
    draft.replace(place)
    return 2 if "error" in answer else 0


def _kept_at(asked: Interval) -> str:
    return mask(f"{asked.pipeline.store.rstrip('/')}/runs/{asked.run}.json.gz")


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _complain(error: FidelityError) -> None:
    print(f"fidelity: {mask(str(error))}", file=sys.stderr)


def _die_with_parent() -> None:
    """Be killed when the task's process ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
