"""Draws what benchmarks.compare measured: compare.json becomes docs/comparison.svg, and the tables
of docs/comparison.md.

    python -m benchmarks.plot [--json FILE] [--docs FOLDER] [--records N] [--differences L+D]

Plotly writes SVG only with a browser; this needs two bar charts, so the SVG is written by hand:
time and memory on logarithmic scales, one row for each contender, readable on white and on black.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

ROW, LABEL, CHART, GAP, TOP = 24, 210, 260, 60, 64
OURS, THEIRS, GREY = "#1f7a8c", "#b0a18f", "#808080"


def drawn(rows: Sequence[dict[str, Any]], machine: str) -> str:
    """The whole picture."""
    first = rows[0]
    title = (
        f"{first['records']:,} records a side, {first['planted'].replace('+', ' lost, ')} doubled"
    )
    width, height = LABEL + 2 * CHART + 2 * GAP, TOP + ROW * len(rows) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{GREY}">',
        _text(0, 18, f"All differences named: {title}", size=15),
        _text(0, height - 8, machine, size=11),
    ]
    for n, row in enumerate(rows):
        parts.append(_text(LABEL - 8, _middle(n), row["contender"], anchor="end"))
    seconds = [row["work"] for row in rows]
    memory = [row["pss"] if row["work"] is not None else None for row in rows]
    parts += _bars(rows, seconds, LABEL, "seconds of work", _seconds)
    parts += _bars(rows, memory, LABEL + CHART + GAP, "MB, peak of all processes", _megabytes)
    return "\n".join([*parts, "</svg>\n"])


def _bars(
    rows: Sequence[dict[str, Any]], values: Sequence[float | None], left: int, title: str, told: Any
) -> Iterator[str]:
    known = [value for value in values if value]
    low = 10 ** math.floor(math.log10(min(known)))
    span = math.ceil(math.log10(max(known) / low)) or 1  # whole powers of ten
    yield _text(left, TOP - 22, f"{title} (logarithmic)", size=12)
    for n, (row, value) in enumerate(zip(rows, values, strict=True)):
        ours = row["contender"].startswith("Fidelity")
        if not value:
            yield _text(left + 4, _middle(n), "no answer")
            continue
        length = max(3.0, CHART * math.log10(value / low) / span)
        yield (
            f'<rect x="{left}" y="{TOP + ROW * n}" width="{length:.1f}" height="{ROW - 7}" '
            f'rx="2" fill="{OURS if ours else THEIRS}"/>'
        )
        yield _text(left + length + 5, _middle(n), told(value))


BEGIN, END = "<!-- figures: made by benchmarks.plot -->", "<!-- end of figures -->"


def figures(page: str, rows: Sequence[dict[str, Any]], machine: str) -> str:
    """The page with its tables replaced, one for each pair of lakes."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    pairs = dict.fromkeys((row["records"], row["planted"]) for row in rows)
    tables = "\n".join(_table(rows, *pair) for pair in pairs)
    return f"{before}{BEGIN}\n\nMeasured on {machine}.\n\n{tables}\n{END}{after}"


def _table(rows: Sequence[dict[str, Any]], records: int, planted: str) -> str:
    lost, _, doubled = planted.partition("+")
    lines = [
        f"**{records:,} records a side, {int(lost):,} lost, {int(doubled):,} doubled**\n",
        "| | work | whole | memory | losses named | duplicates named | named wrongly |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if (row["records"], row["planted"]) != (records, planted):
            continue
        times = f"{_time(row['work'])} | {_time(row['whole'])} | {row['pss']:,.0f} MB"
        if row["work"] is None or row["contender"] == "plain counts":
            named = f"{_said(row)} | - | -"
        else:
            named = f"{row['lost']:,} | {row['duplicates']:,} | {row['wrong']:,}"
        lines.append(f"| {row['contender']} | {times} | {named} |")
    return "\n".join(lines) + "\n"


def _said(row: dict[str, Any]) -> str:
    return str(row["said"]).replace("|", "/")[:80] or "-"


def _time(value: float | None) -> str:
    return "-" if value is None else _seconds(value)


def _middle(row: int) -> int:
    return TOP + ROW * row + 13


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
    )


def _seconds(value: float) -> str:
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s"


def _megabytes(value: float) -> str:
    return f"{value:,.0f}"


def main() -> None:
    """Draw one pair of lakes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, default=Path(".build/bench/compare.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--records", type=int, default=20_000_000)
    parser.add_argument("--differences", default="10+5")
    given = parser.parse_args()
    found = json.loads(given.json.read_text("utf-8"))
    wanted = (given.records, given.differences)
    rows = [
        row
        for row in found["rows"]
        if (row["records"], row["planted"]) == wanted and row["contender"] != "plain counts"
    ]
    if not rows:
        parser.error(f"{given.json} has nothing of {given.records:,} records, {wanted[1]}")
    (given.docs / "comparison.svg").write_text(drawn(rows, found["machine"]), "utf-8")
    page = given.docs / "comparison.md"
    page.write_text(figures(page.read_text("utf-8"), found["rows"], found["machine"]), "utf-8")


if __name__ == "__main__":
    main()
