"""The catalogue: a DuckDB file of views over a star's files, for whoever asks in SQL.

It holds no rows. Its views name the files by their whole address: DuckDB takes a relative one from
the folder that its user is in. A star that was moved needs a new catalogue.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import duckdb

from fidelity.config import mask
from fidelity.errors import StoreError, UsageError
from fidelity.questions import question
from fidelity.star import digests
from fidelity.star.place import ANEW, ENDING, Place
from fidelity.star.schema import DIM_RUN, DIM_STATEMENT, DIMENSIONS, TABLES, VERSION
from fidelity.store.storage import storage_options

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

    Of a star on S3 it is read with DuckDB's httpfs and the reader's own secret: the file has none.

    Raises:
        StoreError: there is no star, or it cannot be read.
        UsageError: the file cannot be written, or DuckDB cannot read where the star is.
    """
    place.check()
    draft = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    try:
        with duckdb.connect(str(draft)) as connection:
            reach(connection, place)
            _fill(connection, place)
        draft.replace(file)
    except (duckdb.IOException, OSError) as error:
        what = f"cannot be written: {_first_line(error)[:200]}."
        raise UsageError(what, where=str(file), action="Give it another place.") from error
    finally:
        draft.unlink(missing_ok=True)


def reach(connection: duckdb.DuckDBPyConnection, place: Place) -> None:
    """Let a connection read the star's files: on S3 by httpfs, and a secret that is not kept.

    Raises UsageError: DuckDB cannot read where the star is.
    """
    if place.local:
        return
    if not place.uri.startswith(("s3://", "s3a://")):
        action = "Ask it with Spark, or copy it to a local folder and make its catalogue there."
        what = f"DuckDB does not read {place.uri.partition(':')[0]}."
        raise UsageError(what, where=mask(place.uri), action=action)
    spec = find_spec("duckdb_extension_httpfs")
    found = (
        [str(path) for path in Path(spec.origin).parent.rglob("*.duckdb_extension")]
        if (spec and spec.origin)
        else []
    )
    try:
        connection.execute(f"LOAD {_quoted(found[0]) if found else 'httpfs'}")
    except duckdb.Error:
        action = "Install it: pip install duckdb-extension-httpfs, or INSTALL httpfs in DuckDB."
        raise UsageError("DuckDB's httpfs is missing.", where="S3", action=action) from None
    connection.execute(f"CREATE TEMPORARY SECRET ({_secret(place)})")


def _secret(place: Place) -> str:
    """The star's options, and what the environment says besides, in DuckDB's words."""
    given = {
        name.upper(): value for name, value in storage_options(place.uri, place.options).items()
    }
    known = {name: given.get(name) or os.environ.get(name, "") for name in _SECRET_NAMES}
    told = {_SECRET_NAMES[name]: _quoted(value) for name, value in known.items() if value}
    scheme, _, address = known["AWS_ENDPOINT_URL"].rpartition("://")
    if address:
        told |= {"ENDPOINT": _quoted(address), "URL_STYLE": "'path'"}
        told["USE_SSL"] = "false" if scheme == "http" else "true"
    return ", ".join(["TYPE s3", *(f"{name} {value}" for name, value in told.items())])


_SECRET_NAMES = {
    "AWS_ACCESS_KEY_ID": "KEY_ID",
    "AWS_SECRET_ACCESS_KEY": "SECRET",
    "AWS_SESSION_TOKEN": "SESSION_TOKEN",
    "AWS_REGION": "REGION",
    "AWS_ENDPOINT_URL": "ENDPOINT",
}


def _fill(connection: duckdb.DuckDBPyConnection, place: Place) -> None:
    for table in TABLES:
        name = f"{table.name}_files"
        if table in (DIM_RUN, DIM_STATEMENT):
            files, more = f"{table.name}/*.parquet", ", filename = 'file'"
        elif table.by_day:
            files = f"{table.name}/day=*/*.parquet"
            more = ", hive_partitioning = true, hive_types = {'day': DATE}"
        else:
            files, more = f"{table.name}/*.parquet", ""
            name = table.name if table in DIMENSIONS else name
        address = f"{place.uri}/{files}".replace("'", "''")
        text = f"SELECT * FROM read_parquet('{address}'{more})"
        with _reading(place):
            _view(connection, name, text, table.grain)
    for name in QUESTIONS:
        text = _question(name)
        _view(connection, name, text, _comment(text))
    _view(connection, "about", f"SELECT {_quoted(_label(place))} AS label", "What this is.")


@contextmanager
def _reading(place: Place) -> Iterator[None]:
    """Turn what DuckDB raises of a star's file into a StoreError; what else it raises stays."""
    try:
        yield
    except duckdb.Error as error:
        what = _first_line(error)
        if ENDING not in what:
            raise
        gone = isinstance(error, duckdb.InvalidInputException) or "No files found" in what
        action = ANEW if gone else "Check that the star can be reached, and try again."
        what = f"the star cannot be read: {mask(what)}."
        raise StoreError(what, where=mask(place.uri), action=action) from error


def _first_line(error: Exception) -> str:
    """What DuckDB says, without the query that it shows below."""
    return str(error).partition("\n")[0].strip()


def _view(connection: duckdb.DuckDBPyConnection, name: str, text: str, about: str) -> None:
    connection.execute(f"CREATE VIEW {name} AS {text}")
    connection.execute(f"COMMENT ON VIEW {name} IS {_quoted(about)}")


def _comment(text: str) -> str:
    """What stands on top of a question."""
    lines = text.splitlines()
    top = lines[: next(n for n, line in enumerate(lines) if not line.startswith("--"))]
    return " ".join(line.removeprefix("--").strip() for line in top)


def _label(place: Place) -> str:
    """What a catalogue was made for: another one is needed if this is another text."""
    views = digests.key("".join(_question(name) for name in QUESTIONS))
    return f"Fidelity star, version {VERSION}, views {views:016x}, at {place.uri}"


def _question(name: str) -> str:
    return question(name if name.startswith("star_") else f"catalog_{name}")


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
