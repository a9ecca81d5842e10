"""Scan on Spark: `spark-submit jobs/scan.py --pipeline pipeline.yaml`.

Does what `fidelity scan --engine spark` does, with the session that spark-submit sets up. Fidelity
must be installed for the Python of the driver and of the executors: docs/deployment.md.
"""

import sys

import typer

from fidelity.cli import auditing, entered, options

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def scan(
    pipeline: options.File,
    stage: options.Stages = None,
    as_of: options.AsOf = None,
    workers: options.Workers = None,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
    file: options.Output = None,
) -> int:
    """Read what is new at each stage and keep what was observed, as tasks of Spark's."""
    asked = auditing.understood(pipeline, stage, None, as_of, file)
    chosen = options.engine("spark", None, None, asked.pipeline.engine)
    return auditing.scan_and_tell(asked, chosen, json, workers, quiet, file)


if __name__ == "__main__":
    sys.exit(entered(app, "scan.py", sys.argv[1:]))
