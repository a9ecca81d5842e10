"""Scan on Spark: `spark-submit jobs/scan.py --pipeline pipeline.yaml`.

Does what `fidelity scan --engine spark` does, with the session that spark-submit sets up. Fidelity
must be installed for the Python of the driver and of the executors: docs/spark.md.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fidelity.cli import entered, options, output
from fidelity.cli.auditing import told

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def scan(
    pipeline: Annotated[
        Path, typer.Option("--pipeline", metavar="FILE", help="The pipeline file (YAML).")
    ],
    stage: options.Stages = None,
    as_of: options.AsOf = None,
    workers: options.Workers = None,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
    file: options.Output = None,
) -> int:
    """Read what is new at each stage and keep what was observed, as tasks of Spark's."""
    from fidelity import audit
    from fidelity.cli import scanned
    from fidelity.cli.progress import Progress
    from fidelity.config import load

    output.check(file)
    loaded = load(pipeline)
    stages = tuple(loaded.stage(name).name for name in stage or ())
    now = options.moment(as_of, "--as-of")
    with Progress(quiet) as progress:
        found = audit.scan(
            loaded,
            stages=stages,
            as_of=now,
            workers=workers,
            progress=progress,
            engine=options.engine("spark", None, None, loaded.engine),
        )
    with output.opened(file) as out:
        if json:
            output.as_json(scanned.document(found), out)
        else:
            out.writelines(f"{line}\n" for line in scanned.as_lines(found))
    return told(found.errors)


if __name__ == "__main__":
    sys.exit(entered(app, "scan.py", sys.argv[1:]))
