"""`publish` and `catalog`: a run goes to where people and machines look."""

from pathlib import Path
from typing import Annotated

import typer

from fidelity.cli import auditing, options, output
from fidelity.errors import ConfigError


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(publish)
    app.command()(catalog)


def publish(
    pipeline: options.PipelineFile,
    json: options.AsJson = False,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="The run to publish. Default: the last one."),
    ] = None,
    window: options.InWindow = None,
    as_of: options.KeptAsOf = None,
    file: options.Output = None,
) -> int:
    """Write a run that was kept to where `publish:` of the pipeline file says.

    A run that is published again replaces its own rows.
    """
    from fidelity.config import load

    options.kept(run, as_of)
    output.check(file, pipeline)
    loaded = load(pipeline)
    interval = options.window(window, loaded.window)
    upto = options.moment(as_of, "--as-of")
    from fidelity import audit
    from fidelity.publish import written
    from fidelity.report.narrow import narrowed

    report = audit.kept(loaded, run=run, as_of=upto).report
    done, failed = written(loaded, narrowed(report, (), interval))
    with output.opened(file) as out:
        if json:
            each_place = [
                {"destination": each.destination, "where": each.where, "unchanged": each.unchanged}
                for each in done
            ]
            output.as_json({"run": report.run, "published": each_place}, out)
        else:
            width = max((len(each.destination) for each in done), default=0)
            for each in done:
                out.write(f"{each.destination:{width}}  {each.what}: {each.where}\n")
    return auditing.told(failed)


def catalog(
    pipeline: options.PipelineFile,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Default: catalog.duckdb, in the star itself."
        ),
    ] = None,
) -> int:
    """Make the DuckDB file of views over the star, again if the star was moved."""
    from fidelity.config import load

    output.check(file, pipeline)
    loaded = load(pipeline)
    if not loaded.publish.star:
        action = "Name one: `publish: {star: star}`."
        raise ConfigError("there is no star under `publish:`.", where=loaded.name, action=action)
    from fidelity.star import Place, catalogue

    place = Place(loaded.publish.star, loaded.publish.options)
    beside = Path(place.uri if place.local else ".", catalogue.NAME)
    catalogue.make(place, file or beside)
    output.note(f"Wrote {file or beside}. Ask it: duckdb {file or beside} 'SHOW TABLES'")
    return 0
