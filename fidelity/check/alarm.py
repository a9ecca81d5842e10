"""What a check came to as an alarm: a few lines for whoever is woken by it, or for a chat."""

from fidelity.check.checked import Checked, Row
from fidelity.report import figures


def alarm(checked: Checked, at_most: int = 10) -> str:
    """The verdict, then what missed a target, worst first: stage, stream, window and count.

    What came about at another hop, which has a line of its own, is left out.
    """
    rows = [row for row in checked.rows if not row.elsewhere] or list(checked.rows)
    lines = [_line(row) for row in rows[:at_most]]
    if len(rows) > at_most:
        lines.append(f"... and {len(rows) - at_most:,} more")
    if not rows and checked.verdict == "unknown":
        lines = ["nothing was seen of these windows at any stage"]
    within = ""
    if checked.within is not None:
        within = ", windows from {} to {}".format(*map(figures.window, checked.within))
    return "\n".join(
        [f"{checked.verdict.upper()} {figures.shown(checked.pipeline)}{within}", *lines]
    )


def _line(row: Row) -> str:
    stage = f"{row.stage} against {row.against}" if row.against else row.stage
    window = "" if row.window is None else figures.window(row.window)
    where = ", ".join(part for part in (stage, row.stream, window) if part)
    count = f"{figures.records(row.records)}, " if row.records else ""
    return figures.shown(f"{where}: {row.verdict}, {count}{row.expectation}: {row.message}")
