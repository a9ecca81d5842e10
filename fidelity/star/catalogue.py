"""The catalogue: a DuckDB file of views over a star's files, for whoever asks in SQL.

It holds no rows. Its views name the files by their whole address: DuckDB takes a relative one from
the folder that its user is in. A star that was moved needs a new catalogue.
"""

import os
from pathlib import Path

import duckdb

from fidelity.config import mask
from fidelity.errors import UsageError
from fidelity.questions import question
from fidelity.star.place import Place
from fidelity.star.schema import DIM_RUN, DIM_STATEMENT, TABLES, VERSION

NAME = "catalog.duckdb"

QUESTIONS = (
    "star_runs",
    "star_statements",
    "star_current",
    "runs",
    "balance",
    "difference",
    "flaw",
    "lag",
    "balance_history",
    "difference_history",
    "flaw_history",
    "lag_history",
    "daily",
    "completeness_by_day",
    "nines",
    "worst_streams",
    "losses_by_origin",
    "time_to_detect",
    "restatements",
)
"""The views, each after those that it asks."""


def keep(place: Place) -> None:
    """Make the catalogue of a star on local disk, beside its tables, unless it is up to date.

    Raises StoreError.
    """
    file = Path(place.uri, NAME)
    if _made_for(file) != _label(place):
        make(place, file)


def make(place: Place, file: Path) -> None:
    """Write the catalogue of a star to a file, or replace it.

    Of a star on S3 it is read with DuckDB's httpfs and the reader's own secrets: the file has none.

    Raises:
        StoreError: there is no star.
        UsageError: the file cannot be written, or DuckDB cannot read where the star is.
    """
    place.check()
    if place.uri.startswith("hdfs://"):
        action = "Ask it with Spark, or copy it to a local folder and make its catalogue there."
        raise UsageError("DuckDB does not read HDFS.", where=mask(place.uri), action=action)
    draft = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    try:
        with duckdb.connect(str(draft)) as connection:
            _fill(connection, place)
        draft.replace(file)
    except (duckdb.IOException, OSError) as error:
        what = f"cannot be written: {' '.join(str(error).split())[:200]}."
        raise UsageError(what, where=str(file), action="Give it another place.") from error
    finally:
        draft.unlink(missing_ok=True)


def _fill(connection: duckdb.DuckDBPyConnection, place: Place) -> None:
    for table in TABLES:
        name = f"{table.name}_files"
        if table in (DIM_RUN, DIM_STATEMENT):
            files, more = f"{table.name}/*.parquet", ", filename = 'file'"
        elif table.by_day:
            files = f"{table.name}/day=*/*.parquet"
            more = ", hive_partitioning = true, hive_types = {'day': DATE}"
        else:
            files, more, name = f"{table.name}/*.parquet", "", table.name
        address = f"{place.uri}/{files}".replace("'", "''")
        text = f"SELECT * FROM read_parquet('{address}'{more})"
        _view(connection, name, text, table.grain)
    for name in QUESTIONS:
        text = question(f"catalog_{name}" if not name.startswith("star_") else name)
        _view(connection, name, text, _comment(text))
    _view(connection, "about", f"SELECT {_quoted(_label(place))} AS label", "What this is.")


def _view(connection: duckdb.DuckDBPyConnection, name: str, text: str, about: str) -> None:
    connection.execute(f"CREATE VIEW {name} AS {text}")
    connection.execute(f"COMMENT ON VIEW {name} IS {_quoted(about)}")


def _comment(text: str) -> str:
    """What stands on top of a question."""
    lines = text.splitlines()
    top = lines[: next(n for n, line in enumerate(lines) if not line.startswith("--"))]
    return " ".join(line.removeprefix("--").strip() for line in top)


def _label(place: Place) -> str:
    return f"Fidelity star, version {VERSION}, at {place.uri}"


def _made_for(file: Path) -> str:
    if not file.exists():
        return ""
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            return "".join(*connection.execute("SELECT label FROM about").fetchall())
    except duckdb.Error:
        return ""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
