"""The report as an alarm: a few lines for whoever is woken by it, or for a chat."""

from typing import Any

from fidelity.report import Report, figures

_COUNTS = ("lost", "duplicates", "unexpected", "unaudited", "in_flight")
_WORDS = {"duplicates": "duplicated", "unaudited": "not seen", "in_flight": "in flight"}
_MOST_FINDINGS = 3


def alarm(report: Report, at_most: int = 10) -> str:
    """The verdict, then a line for each of the worst windows: stage, stream, window and counts.

    Each is told against the stage before; where no window is to blame, the worst findings are told.
    """
    rows = report.worst(report.balances.num_rows)
    rows = [row for row in rows if row["against"] in (row["after"], None)] or rows
    lines = [_line(row) for row in rows[:at_most]]
    if len(rows) > at_most:
        lines.append(f"... and {len(rows) - at_most:,} more")
    if not rows and report.verdict != "pass":
        worst = [each for each in report.findings if each.severity != "info"][:_MOST_FINDINGS]
        lines = [f"{figures.shown(f'{each.stage}: {each.message}')}" for each in worst]
        lines = lines or ["no record was seen in these windows at any stage"]
    return "\n".join([f"{report.verdict.upper()} {figures.shown(report.pipeline)}", *lines])


def _line(row: dict[str, Any]) -> str:
    told = [f"{row[name]:,} {_WORDS.get(name, name)}" for name in _COUNTS if row[name]]
    edge = row["stage"] if row["against"] is None else f"{row['stage']} from {row['after']}"
    counts = ", ".join(told) or "not everything was seen"
    where = f"{edge}, {row['stream']}, {figures.window(row['window'])}"
    return f"{figures.shown(where)}: {row['verdict']}, {counts}"
