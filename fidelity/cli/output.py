"""Where a command's answer goes: stdout, a pipe that may close, or a file; as text or as JSON."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fidelity.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


@contextlib.contextmanager
def opened(file: Path | None) -> Iterator[IO[str]]:
    """The file, replaced as a whole once it is written, or stdout.

    A reader that closes the pipe early (`| head`) ends the writing and nothing else: the command
    still returns the status of its answer. Raises UsageError if the file cannot be written.
    """
    if file is None:
        with _on_stdout() as out:
            yield out
        return
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as out:
            yield out
        beside.replace(file)
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}."
        raise UsageError(what, where=str(file), action="Give --output another file.") from None
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _on_stdout() -> Iterator[IO[str]]:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What an old locale cannot show is replaced, rather than ending the report half-way.
        sys.stdout.reconfigure(errors="replace")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at exit: nothing may go to the closed pipe then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console(out: IO[str]) -> "Console":
    """A console of the terminal's width; 80 columns and no colour where there is no terminal."""
    from rich.console import Console

    class Quitting(Console):
        """rich would end the process with status 1 when a pipe closes."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Quitting(file=out, highlight=False, markup=False, emoji=False, soft_wrap=False)


def as_json(value: Any, out: IO[str]) -> None:
    """One JSON document, ASCII only, so that no locale can break it."""
    json.dump(value, out, indent=1, allow_nan=False)
    out.write("\n")


def note(text: str, quiet: bool = False) -> None:
    """A remark on stderr: never part of the answer."""
    if not quiet:
        sys.stderr.write(f"{text}\n")
