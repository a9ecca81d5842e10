"""`check`: is what was found good enough?"""

import typer

from fidelity.cli import auditing, options, output


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(
    pipeline: options.PipelineFile,
    json: options.AsJson = False,
    stage: options.Stages = None,
    window: options.InWindow = None,
    as_of: options.KeptAsOf = None,
    run: options.RunId = None,
    top: options.Top = 10,
    file: options.Output = None,
) -> int:
    """Hold a kept run against the targets and expectations, and say what misses them.

    Great Expectations judges; its result and a page of it are kept with the run in the store.
    """
    options.kept(run, as_of)
    asked = auditing.understood(pipeline, stage, window, as_of, file)
    from fidelity import audit as made
    from fidelity.cli import checked

    found = made.check(
        asked.pipeline, run=run, as_of=asked.as_of, stages=asked.stages, window=asked.window
    )
    with output.opened(file) as out:
        if json:
            output.as_json(found.document(), out)
        else:
            checked.render(found, output.console(out), top)
    return auditing.told(found.errors) or (0 if found.verdict in ("pass", "pending") else 1)
