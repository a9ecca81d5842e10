"""`store`: what is kept of earlier scans and runs."""

import typer

from fidelity.cli import options, output

app = typer.Typer(
    help="What is kept of earlier scans and runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def compact(pipeline: options.PipelineFile, quiet: options.Quiet = False) -> int:
    """Merge small files, and remove what scans that died left behind."""
    from fidelity.audit import opened_store
    from fidelity.config import load

    done = opened_store(load(pipeline)).compact()
    output.note(str(done), quiet)
    return 0


@app.command()
def runs(
    pipeline: options.PipelineFile, json: options.AsJson = False, file: options.Output = None
) -> int:
    """List the runs that were kept, newest first."""
    from fidelity.audit import opened_store
    from fidelity.config import load

    found = opened_store(load(pipeline)).runs()
    with output.opened(file) as out:
        if json:
            output.as_json(found, out)
        else:
            out.writelines(f"{run}\n" for run in found)
    return 0
