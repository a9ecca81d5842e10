"""The report for a terminal of 80 columns: the pipeline stage by stage, worst windows, findings.

Renders and counts nothing. Verdicts are told by symbol and word as well as by colour, and all that
came from data is cleared of control characters before it is printed.
"""

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from fidelity.config.values import duration_text
from fidelity.report import Books, Finding, Report, figures, with_plain_window

if TYPE_CHECKING:
    from fidelity.trace.whereabouts import Sighting, Whereabouts

# Told apart by people who do not see red and green alike: blue, orange, grey, magenta.
STYLES = {"pass": "blue", "fail": "bold dark_orange", "pending": "dim", "unknown": "magenta"}
_SEVERITY = {"error": "fail", "warning": "unknown", "info": "pending"}
_MOST_FINDINGS = 50

EXPLAINED = {
    "pass": "every settled window passed",
    "fail": "records are lost, doubled or unexpected",
    "pending": "no window has settled yet",
    "unknown": "not everything was seen",
}


def render(report: Report, console: Console, at_most: int = 10) -> None:
    """Print the report.

    Args:
        report: what to print.
        console: where to.
        at_most: how many of the worst windows are listed.
    """
    _Page(report, console).print(at_most)


def windows(report: Report, console: Console) -> None:
    """Print the books of a few windows, every stage's, as a table: end to end and by hop."""
    _Page(report, console).windows()


def whereabouts(seen: "Whereabouts", console: Console) -> None:
    """Print where an id was seen."""
    width = max((len(stage) for stage in seen.stages), default=0)
    console.print(f"id {seen.id:08x}")
    for stage in seen.stages:
        name = f"{figures.shown(stage):{width}}"
        found = [each for each in seen.sightings if each.stage == stage]
        for each in found:
            console.print(f"{name}  {_sighting(each)}")
            console.print(f"{'':{width}}  {_position(each)}", soft_wrap=True)
        if stage in seen.untold:
            reason = figures.shown(seen.untold[stage])
            console.print(f"{name}  could not be read again: {reason}", soft_wrap=True)
        elif not found:
            console.print(f"{name}  not seen")


def _sighting(seen: "Sighting") -> str:
    told = [figures.moment(seen.time), seen.stream, seen.origin]
    told += [] if seen.sequence is None else [f"sequence {seen.sequence}"]
    return "  ".join(figures.shown(part) for part in told)


def _position(seen: "Sighting") -> str:
    partition = "" if seen.partition is None else f", partition {seen.partition}"
    return f"{figures.shown(seen.path)}{partition}, at {seen.offset:,}"


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


class _Page:
    def __init__(self, report: Report, console: Console) -> None:
        self.report, self.console = report, console
        unicode = (console.encoding or "").lower().startswith("utf")
        self.symbols = figures.SYMBOLS if unicode else figures.PLAIN_SYMBOLS

    def print(self, at_most: int) -> None:
        self.line(
            Text.assemble(
                (figures.shown(self.report.pipeline), "bold"),
                f"  as of {figures.moment(self.report.as_of)}",
                f"  windows of {duration_text(self.report.window)},",
                f" settled after {duration_text(self.report.settle)}",
            )
        )
        self.line()
        self.console.print(self.tree())
        self.worst_windows(at_most)
        self.findings()
        self.line()
        self.verdict()

    def line(self, text: Text | str = "") -> None:
        self.console.print(text, highlight=False, markup=False)

    def mark(self, verdict: str, text: str | None = None) -> Text:
        shown = f"{self.symbols[verdict]} {text or verdict}".rstrip()
        return Text(shown, style=STYLES[verdict])

    # The pipeline

    def tree(self) -> Tree:
        by_stage: dict[str, list[Books]] = {}
        for books in self.report.stages:
            by_stage.setdefault(books.stage, []).append(books)
        nodes: dict[str, Tree] = {}
        root = Tree(Text("nothing was looked at"))
        for stage, rows in by_stage.items():
            label = self.stage(stage, rows)
            after = rows[0].after
            if after in nodes:
                nodes[stage] = nodes[after].add(label)
            else:
                nodes[stage] = root = Tree(label, guide_style="dim")
        return root

    def stage(self, stage: str, rows: list[Books]) -> Text:
        if rows[0].after == self.report.stages[0].stage:  # the hop is the whole way: say it once
            rows = [books for books in rows if books.against == books.after] or rows
        # The stage's own mark is that of its hop: what was lost further up is told further down.
        hop = [books for books in rows if books.against in (books.after, None)] or rows
        head = Text.assemble(
            self.mark(hop[0].verdict, figures.shown(stage)),
            f"  {figures.records(rows[0].observed)}",
        )
        lines = [head, *(part for books in rows for part in self.books(books))]
        flaws = [f"{count:,} {kind}" for kind, count in rows[0].flaws.items() if count]
        if flaws:
            lines.append(Text(f"    flaws: {', '.join(flaws)}"))
        return Text("\n").join(lines)

    def books(self, books: Books) -> list[Text]:
        if books.against is None or books.expected is None or books.delivered is None:
            return [self.differing(books)] if books.verdict != "pass" else []
        figure = "nothing was due"
        if books.completeness is not None:
            figure = f"{figures.percent(books.completeness)}  {figures.nines(books)}"
        text = Text.assemble(
            f"  {_against(books)}: {figures.count(books.delivered)}",
            f" of {figures.count(books.expected)}  {figure.rstrip()}",
        )
        return [text, self.differing(books)]

    def differing(self, books: Books) -> Text:
        parts = [Text("    "), self.mark(books.verdict)]
        for name in ("lost", "duplicates", "unexpected", "in_flight", "filtered", "unaudited"):
            number = getattr(books, name)
            if number or (name in ("lost", "duplicates") and books.against is not None):
                bad = number and name in ("lost", "duplicates", "unexpected")
                label = name.replace("_", " ")
                style = "bold" if bad else "dim"
                parts += [Text("  "), Text(f"{label} {figures.count(number)}", style=style)]
        if told := figures.windows(books):
            parts.append(Text(f"  windows: {told}", style="dim"))
        return Text.assemble(*parts)

    # The windows, the findings, the verdict

    def worst_windows(self, at_most: int) -> None:
        rows = self.report.worst(self.report.balances.num_rows) if at_most else []
        hops = [row for row in rows if row["against"] in (row["after"], None)] or rows
        if not hops:
            return
        title = "Worst windows" if len(hops) <= at_most else f"Worst windows ({len(hops):,} in all)"
        self.line()
        self.line(Text(title, style="bold"))
        table = _table("", "window", "stage", "stream")
        table.columns[1].no_wrap = True  # half a time tells nothing, so names fold instead
        for name in ("lost", "dupl.", "unexp.", "unseen", "in flight"):
            table.add_column(name, justify="right", overflow="fold")
        for row in hops[:at_most]:
            table.add_row(*self.window_row(row))
        self.console.print(table, highlight=False)

    def window_row(self, row: dict[str, Any]) -> list[Text]:
        numbers = ("lost", "duplicates", "unexpected", "unaudited", "in_flight")
        return [
            self.mark(row["verdict"]),
            Text(figures.window(row["window"])),
            Text(figures.shown(row["stage"])),
            Text(figures.shown(row["stream"])),
            *(Text(figures.count(row[name]) if row[name] else "-") for name in numbers),
        ]

    def windows(self) -> None:
        rows = with_plain_window(self.report.balances).to_pylist()
        if not rows:
            self.line("Nothing was seen in this window at any stage.")
        for window, found in groupby(sorted(rows, key=itemgetter("window")), itemgetter("window")):
            self.line(Text(f"Window {figures.moment(window)}", style="bold"))
            self.console.print(self.window(sorted(found, key=itemgetter("stream"))))
            self.line()
        self.verdict()

    def window(self, rows: list[dict[str, Any]]) -> Table:
        table = _table("", "stream", "stage", "against")
        for name in ("seen", "expected", "lost", "dupl.", "unexp.", "unseen"):
            table.add_column(name, justify="right", overflow="fold")
        numbers = ("observed", "expected", "lost", "duplicates", "unexpected", "unaudited")
        for row in rows:
            table.add_row(
                self.mark(row["verdict"]),
                *(figures.shown(row[name] or "-") for name in ("stream", "stage", "against")),
                *(figures.count(row[name]) if row[name] else "-" for name in numbers),
            )
        return table

    def findings(self) -> None:
        findings = self.report.findings
        if not findings:
            return
        self.line()
        self.line(Text("Findings", style="bold"))
        for finding in findings[:_MOST_FINDINGS]:
            self.finding(finding)
        if len(findings) > _MOST_FINDINGS:
            rest = len(findings) - _MOST_FINDINGS
            self.line(f"... and {rest:,} more: --json has them all.")

    def finding(self, finding: Finding) -> None:
        verdict = _SEVERITY[finding.severity]
        head = Text.assemble(
            self.mark(verdict, f"{finding.kind}"), f" at {figures.shown(finding.stage)}"
        )
        self.line(head)
        self.console.print(
            Padding(Text(figures.shown(finding.message)), (0, 0, 0, 2), expand=False)
        )
        if finding.action:
            arrow = "→ " if self.symbols is figures.SYMBOLS else "-> "
            action = Text(arrow + figures.shown(finding.action), style="italic")
            self.console.print(Padding(action, (0, 0, 0, 2), expand=False))

    def verdict(self) -> None:
        report = self.report
        if report.watermark is None:
            self.line("Watermark: none, the first window did not pass.")
        else:
            moment = figures.moment(report.watermark)
            self.line(f"Watermark: every window before {moment} passed.")
        word = self.mark(report.verdict, report.verdict.upper())
        self.line(Text.assemble(word, f"  {EXPLAINED[report.verdict]}"))


def _against(books: Books) -> str:
    """Which comparison a row is, in words."""
    if books.against == books.after:
        return f"from {figures.shown(books.after or '')}"
    return "end to end"
