"""Copy a stage without duplicates, on Spark: `spark-submit jobs/dedup.py --pipeline pipeline.yaml`.

Does what `fidelity dedup --engine spark` does, with the session that spark-submit sets up. Fidelity
must be installed for the Python of the driver and of the executors: docs/deployment.md.
"""

import sys

import typer

from fidelity.cli import cleaning, entered, options

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def dedup(
    pipeline: options.File,
    stage: cleaning.Of,
    output: cleaning.Output,
    at: cleaning.At = None,
    path: cleaning.Paths = None,
    offsets: cleaning.Offsets = None,
    by_window: cleaning.ByWindow = False,
    json: options.AsJson = False,
) -> int:
    """Copy a stage without duplicates: the first record of every id, in the same files.

    The output is a folder that is empty or not there; of a topic, an empty topic. Prints balanced
    books: read = kept + dropped. If anything cannot be read or written nothing is published.
    """
    from fidelity.config import load

    loaded = load(pipeline)
    asked = cleaning.Asked(stage, output, at, path or (), offsets or (), by_window)
    return cleaning.copied(loaded, options.engine("spark", None, None, loaded.engine), asked, json)


if __name__ == "__main__":
    sys.exit(entered(app, "dedup.py", sys.argv[1:]))
