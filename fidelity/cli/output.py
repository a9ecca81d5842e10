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


def check(file: Path | None, pipeline: Path) -> None:
    """Refuse a file that cannot be written, before the work whose answer it is to hold.

    Neither may it be the pipeline file itself. Raises UsageError.
    """
    if file is None:
        return
    if os.path.exists(file) and os.path.exists(pipeline) and os.path.samefile(file, pipeline):
        raise _unwritable(file, "is the pipeline file.")
    if os.path.isdir(file):
        raise _unwritable(file, "is a folder.")
    if not os.path.isdir(file.parent):
        raise _unwritable(file, "its folder is not there.")


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
    special = os.path.exists(file) and not os.path.isfile(file)  # stays a pipe or a device
    file = file if special else Path(os.path.realpath(file))  # a link stays one, too
    beside = file if special else file.with_name(f".{file.name[:200]}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", errors="backslashreplace") as out:
            yield out
        if not special:
            beside.replace(file)
    except OSError as error:
        raise _unwritable(file, f"cannot be written: {error.strerror or error}.") from None
    finally:
        if not special:
            beside.unlink(missing_ok=True)


def _unwritable(file: Path, what: str) -> UsageError:
    return UsageError(what, where=f"--output {file}", action="Give --output another file.")


@contextlib.contextmanager
def _on_stdout() -> Iterator[IO[str]]:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What an old locale cannot show is replaced, rather than ending the report half-way.
        sys.stdout.reconfigure(errors="replace")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()
    except OSError as error:
        _close_stdout()
        what = f"the answer cannot be written: {error.strerror or error}."
        raise UsageError(what, where="stdout", action="Give it a place with --output.") from None


def _close_stdout() -> None:
    """Python flushes once more at exit: nothing may go to where it could not go before."""
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
