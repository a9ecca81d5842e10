"""`make demo`: run the faulty pipeline, audit it, compare what was planted with what was found.

Exits 0 only if the audit found exactly the planted faults, record for record.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.brokers import brokers

from .hosts import HOSTS, MALFORMED, MINUTES, SILENT, STREAMS, write_logs
from .mirror import LARGEST_BATCH, mirror
from .shipper import ship
from .sink import land
from .truth import Deed, Truth, planted

PARTITIONS = 6
HOPS = {"local": "source", "aggregate": "local", "lake": "aggregate"}
PIPELINE = """\
# Written by the demo: log files -> local Kafka -> aggregate Kafka -> a Parquet lake.
pipeline: demo
store: ./store
window: 10m
settle: 30m
record: {format: json, id: fid, time: ts, stream: type, origin: host}
stages:
  source:    {kind: files, path: "logs/*/*.jsonl*"}
  local:     {kind: kafka, after: source, brokers: "${KAFKA_LOCAL}", topic: logs}
  aggregate: {kind: kafka, after: local, brokers: "${KAFKA_AGGREGATE}", topic: dc1.logs}
  lake:      {kind: files, after: aggregate, path: "lake/*.parquet", record: {format: parquet}}
"""

out = Console()
err = Console(stderr=True)


def main() -> int:
    """Run the demo in .build/demo; returns the exit status."""
    began = time.monotonic()
    folder = Path(".build/demo").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        addresses = start_brokers(stack)
        run_pipeline(folder, addresses)
        report, status = audit(folder, addresses)
    agreed = compare(folder, report)
    window = report["balances"][0]["window"]
    last_words(folder, agreed, status, window, time.monotonic() - began)
    return 0 if agreed and status == 1 else 1  # an audit that finds losses exits 1


def start_brokers(stack: ExitStack) -> dict[str, str]:
    """Start the two clusters. Returns the environment that the pipeline file reads."""
    out.rule("[bold]1/4[/] two Kafka brokers", align="left")
    local, aggregate = stack.enter_context(brokers("kafka-local", "kafka-aggregate"))
    _create_topic(local.address, "logs", {})
    _create_topic(aggregate.address, "dc1.logs", {"max.message.bytes": str(LARGEST_BATCH)})
    out.print(f"local on {local.address}, aggregate on {aggregate.address}\n")
    return {"KAFKA_LOCAL": local.address, "KAFKA_AGGREGATE": aggregate.address}


def _create_topic(address: str, topic: str, settings: dict[str, str]) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    for created in admin.create_topics([NewTopic(topic, PARTITIONS, 1, config=settings)]).values():
        created.result()


def run_pipeline(folder: Path, addresses: dict[str, str]) -> None:
    """Write, ship, mirror and land an hour of logs, faults and all."""
    out.rule("[bold]2/4[/] an hour of logs through the pipeline", align="left")
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    truth = folder / "truth"
    local, aggregate = addresses["KAFKA_LOCAL"], addresses["KAFKA_AGGREGATE"]
    logs = folder / "logs"
    parts: list[tuple[str, int, Iterable[tuple[Any, int]]]] = [
        ("hosts write log files", len(HOSTS), write_logs(logs, hour)),
        ("shipper -> local", len(HOSTS), ship(logs, local, "logs", Truth(truth, "local"))),
        ("mirror -> aggregate", PARTITIONS,
         mirror(local, "logs", aggregate, "dc1.logs", Truth(truth, "aggregate"))),
        ("sink -> lake", PARTITIONS,
         land(aggregate, "dc1.logs", folder / "lake", Truth(truth, "lake"))),
    ]  # fmt: skip
    for name, steps, work in parts:
        out.print(f"{name:24s}{_watched(name, steps, work):>10,} records")
    out.print()


def _watched(name: str, steps: int, work: Iterable[tuple[Any, int]]) -> int:
    columns = (TextColumn("{task.description:24s}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    records = 0
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(name, total=steps)
        for _, done in work:
            records += done
            progress.advance(task)
        progress.update(task, completed=steps)
    return records


def audit(folder: Path, addresses: dict[str, str]) -> tuple[dict[str, Any], int]:
    """Run `fidelity audit` as a user would. Returns its JSON report and its exit status."""
    out.rule("[bold]3/4[/] fidelity audit pipeline.yaml", align="left")
    (folder / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    command = [sys.executable, "-m", "fidelity"]
    environment = os.environ | addresses
    status = subprocess.run(
        [*command, "audit", "pipeline.yaml"], cwd=folder, env=environment, check=False
    ).returncode
    if status not in (0, 1):
        raise SystemExit(f"the audit itself failed with exit status {status}; see its error above")
    printed = subprocess.run(
        [*command, "report", "pipeline.yaml", "--json"],
        cwd=folder, env=environment, check=False, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    (folder / "report.json").write_bytes(printed)
    report: dict[str, Any] = json.loads(printed)
    return report, status


def compare(folder: Path, report: dict[str, Any]) -> bool:
    """Print planted against found, per stage and fault. True if they agree record for record."""
    out.rule("[bold]4/4[/] planted against found", align="left")
    deeds, faults = planted(folder / "truth")
    found = _found(report)
    table = Table("stage", "kind", "planted by", "planted", "found", "")
    told_by_stage, found_by_stage = _by_stage(deeds), _by_stage(found)
    for stage, kind in sorted(told_by_stage, key=lambda each: list(HOPS).index(each[0])):
        told, seen = told_by_stage[stage, kind], found_by_stage.get((stage, kind), Counter())
        names = ", ".join(fault for (at, fault) in faults if at == stage and _is(fault, kind))
        table.add_row(stage, kind, names, f"{told.total():,}", f"{seen.total():,}",
                      _mark(told == seen))  # fmt: skip
    agreed = deeds == found
    for kind, name, is_found in _other_faults(report):
        table.add_row("source", kind, name, "1", "1" if is_found else "0", _mark(is_found))
        agreed = agreed and is_found
    out.print(table)
    for deed in [*(deeds - found), *(found - deeds)][:10]:
        out.print(f"differs: {deed}")
    return agreed


def _found(report: dict[str, Any]) -> Counter[Deed]:
    found: Counter[Deed] = Counter()
    for row in report["differences"]:
        if row["against"] == HOPS[row["stage"]]:
            deed = Deed(row["stage"], row["kind"], row["stream"], row["origin"], row["id"])
            found[deed] += row["copies"]
    return found


def _by_stage(deeds: Counter[Deed]) -> dict[tuple[str, str], Counter[Deed]]:
    split: dict[tuple[str, str], Counter[Deed]] = {}
    for deed, copies in deeds.items():
        split.setdefault((deed.stage, deed.kind), Counter())[deed] = copies
    return split


def _is(fault: str, kind: str) -> bool:
    return ("replayed" in fault) == (kind == "duplicate")


def _other_faults(report: dict[str, Any]) -> list[tuple[str, str, bool]]:
    flaws = {row["stage"]: row["flaws"] for row in report["stages"]}
    host, stream, minute = MALFORMED
    silent = [
        (finding["evidence"]["origin"], set(finding["evidence"]["streams"]))
        for finding in report["findings"]
        if finding["kind"] == "silent"
    ]
    expected = [(SILENT[0], set(STREAMS))]
    return [
        ("malformed", f"a line of {host}/{stream} cut short at minute {minute}",
         flaws["source"].get("malformed") == 1),
        ("silent", f"{SILENT[0]} stops at minute {SILENT[1]} of {MINUTES}", silent == expected),
    ]  # fmt: skip


def _mark(agrees: bool) -> str:
    return "[green]= agrees[/]" if agrees else "[red]! differs[/]"


def last_words(folder: Path, agreed: bool, status: int, window: str, seconds: float) -> None:
    """Say how it went, where everything is, and what to try next."""
    if agreed and status == 1:
        out.print(f"Every planted fault was found, and nothing else. {seconds:.0f} s in all.\n")
    else:
        out.print("[red]The audit and the ground truth do not agree; this is a bug.[/]\n")
    here = os.path.relpath(folder)
    out.print(f"The report: {here}/report.json\nThe pipeline: {here}/pipeline.yaml\n")
    out.print("Try next (the brokers are stopped; the store has all that is needed):")
    out.print(f"  . .venv/bin/activate && cd {here}")
    out.print("  export KAFKA_LOCAL=stopped KAFKA_AGGREGATE=stopped")
    out.print("  fidelity report pipeline.yaml --top 3")
    out.print("  fidelity report pipeline.yaml --json | less")
    out.print(f"  fidelity show pipeline.yaml --window {window}")


if __name__ == "__main__":
    sys.exit(main())
