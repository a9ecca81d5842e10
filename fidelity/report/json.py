"""The JSON report. Stable: more may be added, nothing renamed.

Law: parse(render(report)) == report; rows keep their order.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO, Any

import pyarrow as pa

from fidelity.report import (
    BALANCES,
    DIFFERENCES,
    LAGS,
    Books,
    Collisions,
    Coverage,
    Finding,
    Report,
    from_iso,
    iso,
    with_plain_window,
)

_BATCH = 20_000
_COVERAGE_TIMES = ("looked_at", "first_event", "last_event")


def document(report: Report) -> dict[str, Any]:
    """The whole report as JSON values."""
    return {
        **_head(report),
        "balances": list(_balances(report.balances)),
        "differences": list(_differences(report.differences)),
        "lags": list(_rows(report.lags)),
    }


def write(report: Report, out: IO[str]) -> None:
    """Write the report to a text file, a batch of rows at a time: differences may be millions."""
    head = json.dumps(_head(report), indent=1, allow_nan=False, ensure_ascii=False)
    out.write(head[: head.rindex("\n}")])
    for name, rows in (
        ("balances", _balances(report.balances)),
        ("differences", _differences(report.differences)),
        ("lags", _rows(report.lags)),
    ):
        out.write(f',\n "{name}": [')
        separator = "\n  "
        for row in rows:
            out.write(separator + json.dumps(row, allow_nan=False, ensure_ascii=False))
            separator = ",\n  "
        out.write("]" if separator == "\n  " else "\n ]")
    out.write("\n}\n")


def render(report: Report) -> str:
    """The report as text."""
    out = io.StringIO()
    write(report, out)
    return out.getvalue()


def parse(text: str) -> Report:
    """A report from its JSON. Raises ValueError or KeyError if it is not one."""
    doc = json.loads(text)
    return Report(
        pipeline=doc["pipeline"],
        run=doc["run"],
        as_of=from_iso(doc["as_of"]),
        known_at=doc["known_at"],
        verdict=doc["verdict"],
        watermark=None if doc["watermark"] is None else from_iso(doc["watermark"]),
        window=doc["window_us"],
        settle=doc["settle_us"],
        collision_budget=Collisions(**doc["collision_budget"]),
        stages=tuple(Books(**{**row, "reasons": tuple(row["reasons"])}) for row in doc["stages"]),
        coverage=tuple(_coverage_from(row) for row in doc["coverage"]),
        balances=_table(doc["balances"], BALANCES, drop=("flaws",)),
        differences=_table(doc["differences"], DIFFERENCES, drop=()),
        findings=tuple(Finding(**row) for row in doc["findings"]),
        # A run that was kept before there were such members has none.
        lags=_table(doc.get("lags", []), LAGS, drop=()),
        within=_interval(doc.get("within")),
        only=tuple(doc.get("only", ())),
    )


def _head(report: Report) -> dict[str, Any]:
    return {
        "pipeline": report.pipeline,
        "run": report.run,
        "as_of": iso(report.as_of),
        "known_at": report.known_at,
        "verdict": report.verdict,
        "watermark": None if report.watermark is None else iso(report.watermark),
        "window_us": report.window,
        "settle_us": report.settle,
        "within": None if report.within is None else [iso(at) for at in report.within],
        "only": list(report.only),
        "collision_budget": asdict(report.collision_budget),
        "stages": [{**asdict(row), "reasons": list(row.reasons)} for row in report.stages],
        "coverage": [_coverage_row(row) for row in report.coverage],
        "findings": [asdict(finding) for finding in report.findings],
    }


def _balances(table: pa.Table) -> Iterator[dict[str, Any]]:
    for row in _rows(table):
        yield {**row, "flaws": {}}  # a flawed record has no window that could be trusted


def _differences(table: pa.Table) -> Iterator[dict[str, Any]]:
    for row in _rows(table):
        yield {**row, "id": f"{row['id']:08x}"}


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows in order, `window` as ISO text."""
    for batch in with_plain_window(table).to_batches(max_chunksize=_BATCH):
        for row in batch.to_pylist():
            row["window"] = iso(row["window"])
            yield row


def _table(rows: list[dict[str, Any]], schema: pa.Schema, drop: tuple[str, ...]) -> pa.Table:
    for row in rows:
        row["window"] = from_iso(row["window"])
        if "id" in row:
            row["id"] = int(row["id"], 16)
        for name in drop:
            row.pop(name, None)
    return pa.Table.from_pylist(rows, schema=schema)


def _interval(given: list[str] | None) -> tuple[int, int] | None:
    return None if given is None else (from_iso(given[0]), from_iso(given[1]))


def _coverage_row(row: Coverage) -> dict[str, Any]:
    plain = asdict(row)
    for name in _COVERAGE_TIMES:
        plain[name] = None if plain[name] == -1 else iso(plain[name])
    return plain


def _coverage_from(row: dict[str, Any]) -> Coverage:
    times = {name: -1 if row[name] is None else from_iso(row[name]) for name in _COVERAGE_TIMES}
    return Coverage(**{**row, **times})
