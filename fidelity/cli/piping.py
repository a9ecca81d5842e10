"""`stamp`: ids for the lines that flow through."""

import re
import socket
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fidelity.cli import output
from fidelity.errors import UsageError

if TYPE_CHECKING:
    from fidelity.config import Place


class LineFormat(StrEnum):
    """What the lines are."""

    json = "json"
    text = "text"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(stamp)


def stamp(
    stream: Annotated[
        str,
        typer.Option("--stream", metavar="NAME", help="The kind of record.", show_default=False),
    ],
    origin: Annotated[
        str | None,
        typer.Option("--origin", metavar="NAME", help="Who produces it. Default: the host's name."),
    ] = None,
    line_format: Annotated[
        LineFormat,
        typer.Option("--format", help="json: a member `fid` is added. text: ` fid=` at the end."),
    ] = LineFormat.json,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="FILE",
            help="Keeps the sequence number, so that the next session goes on where this one "
            "ended. Without it, a session starts at a random number.",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", metavar="FILE", help="Appends the producer's own counts to it."),
    ] = None,
    manifest_window: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="How finely the manifest counts. The pipeline's window must be a multiple of it.",
        ),
    ] = "1m",
    time: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="FIELD",
            help="Where a line's event time is, for the manifest. Default: `ts` in JSON, the start "
            "of a line of text; `now` counts a line when it is written.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary on stderr.")] = False,
) -> int:
    """Give each line of stdin its id, and write it to stdout.

    Lines that cannot carry an id (blank, stamped already, broken) pass as they are.
    """
    from fidelity.config.values import duration
    from fidelity.stamp import Stamper
    from fidelity.stamp.pipe import pipe

    try:
        window = duration(manifest_window) / 1e6
    except ValueError as error:
        raise UsageError(str(error), where="--manifest-window") from None
    with Stamper(
        stream, origin or socket.gethostname(), state=state, manifest=manifest, window=window
    ) as stamper:
        done = pipe(
            sys.stdin.buffer,
            sys.stdout.buffer,
            stamper,
            line_format=line_format.value,
            time=_time(time, line_format),
            warn=output.note,
        )
    counts = {
        name: getattr(done, name)
        for name in ("already", "malformed", "blank", "untimed", "unstamped")
    }
    told = [f"{count:,} {name}" for name, count in counts.items() if count]
    output.note(", ".join([f"fidelity: {done.stamped:,} lines stamped", *told]), quiet)
    if done.problem:
        return 2
    # A reader that went away and a polite stop are how pipes end; Ctrl-C is an interruption.
    return 130 if done.signal == 2 else 0


def _time(text: str | None, line_format: LineFormat) -> "Place | None":
    from fidelity.config import Place

    if text == "now":
        return None
    if text is None:
        return Place(builtin="line_start") if line_format is LineFormat.text else Place(field="ts")
    if line_format is LineFormat.text and not re.fullmatch(r"[^\s=]+", text):
        raise UsageError(f"`{text}` is not the name of a value.", where="--time")
    return Place(field=text)
