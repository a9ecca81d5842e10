"""`--metrics`: a report as numbers for machines, on stdout or in a file."""

import io
from collections.abc import Mapping
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Annotated

import typer

from fidelity.errors import UsageError

if TYPE_CHECKING:
    from fidelity.report import Report


class Format(StrEnum):
    """Formats of metrics."""

    openmetrics = "openmetrics"
    opentsdb = "opentsdb"


Form = Annotated[
    Format | None,
    typer.Option(
        "--metrics", metavar="FORMAT", help="Print its metrics instead: openmetrics or opentsdb."
    ),
]
Origins = Annotated[
    bool, typer.Option("--origins", help="With --metrics: differences by producer, too.")
]


def check(form: Format | None, origins: bool, narrowing: Mapping[str, object]) -> None:
    """Refuse what does not go together. A series must mean the same each time: a whole run.

    Raises UsageError.
    """
    if form is None:
        if origins:
            action = "Add --metrics openmetrics or --metrics opentsdb."
            raise UsageError("is an option of --metrics.", where="--origins", action=action)
        return
    for option, given in narrowing.items():
        if given:
            what = f"metrics are those of a whole run: {option} does not go with it."
            raise UsageError(what, where=f"--metrics {form}", action=f"Leave out {option}.")


def write(report: "Report", form: Format, origins: bool, out: IO[str]) -> None:
    """Write the metrics as UTF-8. What would steer a terminal is escaped on one.

    Raises FidelityError if the format cannot hold the run's time.
    """
    from fidelity.report import figures, openmetrics, opentsdb

    text = io.StringIO(newline="\n")
    (openmetrics if form is Format.openmetrics else opentsdb).write(report, text, origins)
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(encoding="utf-8")
    if not out.isatty():
        out.write(text.getvalue())
        return
    for line in text.getvalue().split("\n")[:-1]:
        out.write(f"{figures.shown(line)}\n")
