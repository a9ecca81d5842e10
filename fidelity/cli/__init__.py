"""The command line. A command parses, calls one function, renders, and returns an exit status.

Exit status: 0 pass or pending, 1 fail or unknown, 2 a usage, config, source or store error, 130
interrupted. Errors of the user's are caught here, once; bugs keep their traceback.

Heavy libraries are imported inside the commands, so that `--help` and completion answer at once.
"""

import os
import sys
from functools import cache

import typer
from typer._click.core import Command
from typer._click.exceptions import ClickException
from typer.main import get_command

from fidelity.cli import auditing, checking, cleaning, piping, preparing, publishing, storing
from fidelity.errors import FidelityError

# rich_markup_mode: plain help is quick and pipes cleanly. Pretty tracebacks would show the values
# of local variables, secrets among them.
app = typer.Typer(
    name="fidelity",
    help="Did every record that was produced arrive, once, at every stage?",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
preparing.add_to(app)
piping.add_to(app)
auditing.add_to(app)
checking.add_to(app)
publishing.add_to(app)
cleaning.add_to(app)
app.add_typer(storing.app, name="store")


def main() -> None:
    """The entry point of the command `fidelity`."""
    # A stream that the caller closed is None.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if sys.argv[1:2] in (["scan"], ["audit"], ["reconcile"]):
        from fidelity.lean import become_lean

        become_lean()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line. Returns the exit status."""
    return entered(app, "fidelity", arguments)


def entered(program: typer.Typer, name: str, arguments: list[str]) -> int:
    """Run one command line of a program; errors of the user's are told. Returns its status."""
    try:
        status = _command(program)(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except FidelityError as error:
        return complain(error)
    except ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except BrokenPipeError:
        # Whoever read our output has had enough. Nothing may be flushed there at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if status == 130:
        sys.stderr.write("fidelity: interrupted. What was committed is kept.\n")
    return int(status or 0)


@cache
def _command(program: typer.Typer) -> Command:
    """Made once, however many command lines a process runs."""
    return get_command(program)


def complain(error: FidelityError) -> int:
    """Tell an error on stderr, in one paragraph without secrets. Returns its exit status."""
    from fidelity.config.masking import mask

    sys.stderr.write(f"fidelity: {mask(str(error))}\n")
    return error.exit_code
