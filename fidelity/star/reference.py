"""The reference of the star's tables, from their schema: `python -m fidelity.star.reference`.

It goes into docs/star.md, below the line that says so; a test holds the two equal.
"""

from collections.abc import Iterator
from pathlib import Path

from fidelity.star.schema import TABLES, Table

PAGE = Path(__file__).parents[2] / "docs" / "star.md"
MARK = "<!-- From here on: python -m fidelity.star.reference -->\n"


def reference() -> str:
    """The tables and their columns as Markdown."""
    return "\n".join(line for table in TABLES for line in _lines(table))


def _lines(table: Table) -> Iterator[str]:
    yield f"\n## {table.name}\n\nGrain: {table.grain}.\n"
    yield "| column | type | unit | adds up | meaning |\n|---|---|---|---|---|"
    for each in table.schema:
        about = {key.decode(): value.decode() for key, value in each.metadata.items()}
        cells = (f"`{each.name}`", each.type, about["unit"] or "-", about["additive"])
        yield f"| {' | '.join(map(str, cells))} | {about['meaning']} |"
    if table.by_day:
        yield "| `day` | date | UTC | no | The folder that the file is in: `day=YYYY-MM-DD`. |"


if __name__ == "__main__":
    told = PAGE.read_text("utf-8").partition(MARK)[0]
    PAGE.write_text(f"{told}{MARK}{reference()}\n", "utf-8")
