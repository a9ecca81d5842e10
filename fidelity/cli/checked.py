"""What a check came to, for a terminal of 80 columns: the expectations, then what missed them."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fidelity.check.checked import Checked, Expected, Row
from fidelity.report import figures
from fidelity.report.terminal import STYLES

_ODD = {"not measurable": "pending", "not judged": "pending"}


def render(checked: Checked, console: Console, at_most: int) -> None:
    """Print it, with the `at_most` worst rows."""
    _Page(console).print(checked, at_most)


class _Page:
    def __init__(self, console: Console) -> None:
        self.console = console
        unicode = (console.encoding or "").lower().startswith("utf")
        self.symbols = figures.SYMBOLS if unicode else figures.PLAIN_SYMBOLS
        self.arrow = "→" if unicode else "->"

    def print(self, checked: Checked, at_most: int) -> None:
        name = Text(figures.shown(checked.pipeline), style="bold")
        about = f"  run {checked.run}  as of {figures.moment(checked.as_of)}"
        self.line(Text.assemble(name, about))
        if checked.within is not None:
            first, last = (figures.moment(at) for at in checked.within)
            self.line(f"windows from {first} to {last}")
        self.line()
        self.console.print(self.table(checked.expectations))
        self.rows(checked.rows, at_most)
        self.line()
        if checked.place:
            self.console.print(f"Kept: {checked.place}", soft_wrap=True, highlight=False)
        said = Text.assemble(self.mark(checked.verdict, checked.verdict.upper()), _said(checked))
        self.line(said)

    def line(self, text: Text | str = "") -> None:
        self.console.print(text, highlight=False, markup=False)

    def mark(self, verdict: str, text: str) -> Text:
        verdict = _ODD.get(verdict, verdict)
        return Text(f"{self.symbols[verdict]} {text}", style=STYLES[verdict])

    def table(self, expectations: Sequence[Expected]) -> Table:
        table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
        table.add_column("expectation", overflow="fold")
        # Few ask for `mostly`: the others need no column for it.
        more = ("tolerated",) if any(each.tolerated for each in expectations) else ()
        for name in ("pass", "fail", "unknown", "pending", "too few", *more):
            table.add_column(name, justify="right")
        for each in expectations:
            counts = (*each.counts, *(each.tolerated for _ in more))
            numbers = (figures.count(number) if number else "-" for number in counts)
            table.add_row(self.mark(each.verdict, figures.shown(each.name)), *numbers)
        return table

    def rows(self, rows: Sequence[Row], at_most: int) -> None:
        if not rows or not at_most:
            return
        self.line()
        groups = _alike(rows)
        many = f" ({len(rows):,} in all)" if len(groups) > at_most else ""
        self.line(Text(f"What did not pass{many}", style="bold"))
        advised = ""
        for row, *others in groups[:at_most]:
            self.line(Text.assemble(self.mark(row.verdict, row.expectation), f"  {_place(row)}"))
            like = f" So it is of {len(others):,} more." if others else ""
            self.inside(Text(figures.shown(row.message) + like))
            if row.action != advised:
                advised = row.action
                self.inside(Text(f"{self.arrow} {figures.shown(row.action)}", style="italic"))
        if len(groups) > at_most:
            left = sum(map(len, groups[at_most:]))
            self.line(f"... and {left:,} more: --top, or --json for all.")

    def inside(self, text: Text) -> None:
        self.console.print(Padding(text, (0, 0, 0, 2), expand=False))


def _alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that too few records cannot prove, by what they compare; any other row alone."""
    groups: dict[object, list[Row]] = {}
    for number, row in enumerate(rows):
        few = row.verdict == "not measurable"
        key = (row.expectation, row.stage, row.against) if few else number
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _place(row: Row) -> str:
    """Stage, comparison, stream and window: what there is of them."""
    against = "" if row.against is None else f" against {row.against}"
    window = "" if row.window is None else figures.window(row.window)
    parts = (f"{row.stage}{against}", row.stream, window)
    return "  ".join(figures.shown(part) for part in parts if part)


def _said(checked: Checked) -> str:
    """The verdict in a sentence."""
    failed = [each.name for each in checked.expectations if each.verdict == "fail"]
    few = sum(each.not_measurable for each in checked.expectations)
    said = {
        "pass": "every expectation that could be judged is met",
        "fail": f"missed: {', '.join(dict.fromkeys(failed))}",
        "unknown": "nothing is missed, but not everything was seen",
        "pending": "no window has settled yet",
    }[checked.verdict]
    scopes = f"; {few:,} could not be proven by so few records" if few else ""
    return f"  {figures.shown(said + scopes)}"
