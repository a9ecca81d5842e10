"""`store`: what is kept of earlier scans and runs."""

from typing import Annotated

import typer

from fidelity.cli import options, output

app = typer.Typer(
    help="What is kept of earlier scans and runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def compact(
    pipeline: options.PipelineFile,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything",
            help="Also what may belong to a scan under way, and all earlier versions. Only when "
            "nothing else uses the store.",
        ),
    ] = False,
    quiet: options.Quiet = False,
) -> int:
    """Merge small files, and remove what scans that died left behind."""
    from fidelity.config import load

    loaded = load(pipeline)
    from fidelity.audit import opened_store
    from fidelity.store.compact import compact as made

    output.note(str(made(loaded, opened_store(loaded), everything)), quiet)
    return 0


@app.command()
def runs(
    pipeline: options.PipelineFile, json: options.AsJson = False, file: options.Output = None
) -> int:
    """List the runs that were kept, newest first."""
    from fidelity.config import load

    output.check(file, pipeline)
    loaded = load(pipeline)
    from fidelity.audit import opened_store
    from fidelity.store.runs import heads

    found = heads(opened_store(loaded))
    with output.opened(file) as out:
        if json:
            output.as_json(found, out)
        else:
            for run in found:
                watermark = run["watermark"] or "none"
                told = f"as of {run['as_of']}  watermark {watermark}"
                out.write(f"{run['run']}  {run['verdict']:7}  {told}\n")
    return 0
