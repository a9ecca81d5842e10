"""The questions asked of DuckDB: each is one file of SQL, in the package or in the repository.

Values are bound, never formatted in. A question that DuckDB refuses is raised with its text.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from fidelity.errors import StoreError

_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "sql", _HERE.parent / "sql")  # in the wheel, in the repository


class QuestionError(Exception):
    """A bug of ours: SQL that does not run. Shows the question with DuckDB's answer."""


_UNREAD = "get_next failed(): "
"""What DuckDB says where Arrow could not read on."""
_CALLS = "Detail: Python exception: "
"""What Arrow says before the calls that led to an error in a stream of ours."""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).partition(_CALLS)[0].split())[:400]


@cache
def question(name: str) -> str:
    """The text of sql/<name>.sql. Raises FileNotFoundError: the installation is not whole."""
    for folder in _FOLDERS:
        path = folder / f"{name}.sql"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"sql/{name}.sql is in none of {', '.join(map(str, _FOLDERS))}")


def connect() -> duckdb.DuckDBPyConnection:
    """A connection to an in-memory DuckDB, in UTC; its tables are its own, settings are not."""
    connection = _shared(os.getpid()).cursor()
    connection.execute("SET enable_progress_bar = false")
    return connection


def database() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB of one's own, in UTC, that shows no progress bar."""
    found = duckdb.connect(":memory:")
    found.execute("SET GLOBAL TimeZone = 'UTC'; SET enable_progress_bar = false")
    return found


@cache
def _shared(_process: int) -> duckdb.DuckDBPyConnection:
    """One for each process, since it takes longer to make than most questions; a fork has none."""
    return database()


def ask(
    connection: duckdb.DuckDBPyConnection, name: str, **values: Any
) -> duckdb.DuckDBPyConnection:
    """Run sql/<name>.sql with named values ($name).

    Raises:
        QuestionError: it does not run.
        StoreError: what it is asked about cannot be read, or there is no room to answer it.
    """
    text = question(name)
    try:
        return connection.execute(text, values or None)
    except duckdb.OperationalError as error:
        action = "Free memory, or space where temporary files go, and try again."
        raise StoreError(
            f"there is no room to answer: {_one_line(error)}", action=action
        ) from error
    except duckdb.InvalidInputException as error:
        if _UNREAD not in str(error):
            raise QuestionError(f"sql/{name}.sql: {error}\n\n{text}") from error
        what = f"the store cannot be read: {_one_line(error).partition(_UNREAD)[2]}"
        action = "Restore it from a copy, or name a new `store:` and scan everything again."
        raise StoreError(what, action=action) from error
    except (duckdb.ProgrammingError, duckdb.InternalError) as error:
        raise QuestionError(f"sql/{name}.sql: {error}\n\n{text}") from error
