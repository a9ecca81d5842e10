"""What a record means: sql/decode_values.sql and sql/decode_records.sql, run by DuckDB.

Everything that the kernels are not sure of comes here, and what comes out is the law.
"""

import os
from collections.abc import Mapping
from functools import lru_cache

import duckdb
import pyarrow as pa

from fidelity import questions
from fidelity.errors import ConfigError

BATCH = pa.schema(
    [
        ("n", pa.int64()),  # the row's number, given back with the answer
        ("over_long", pa.bool_()),
        ("arrival", pa.int64()),
        ("value", pa.large_binary()),
        ("id_given", pa.large_binary()),
        ("time_given", pa.large_binary()),
        ("stream_given", pa.large_binary()),
        ("origin_given", pa.large_binary()),
    ]
)


@lru_cache
def _connection(process: int) -> duckdb.DuckDBPyConnection:
    del process  # a forked child must not use its parent's
    connection = questions.connect()
    connection.execute("set threads = 1")
    questions.ask(connection, "decode_values")
    return connection


def ask(batch: pa.Table, parameters: Mapping[str, object]) -> pa.Table:
    """Answers for each row of a batch (schema BATCH), in any order.

    Returns n, malformed, id (int64), id_bytes (to be hashed), event_time, stream, origin.

    Raises:
        questions.QuestionError: a bug of ours.
    """
    connection = _connection(os.getpid())
    connection.register("batch", batch)
    try:
        return questions.ask(connection, "decode_records", **parameters).to_arrow_table()
    finally:
        connection.unregister("batch")


def check_pattern(pattern: str, what: str) -> None:
    """Raises ConfigError if a user's pattern is not RE2's syntax, or has not just one group."""
    connection = _connection(os.getpid())
    for names, wanted in ((["one"], True), (["one", "two"], False)):
        try:
            connection.execute("select regexp_extract('', $1, $2)", [pattern, names]).fetchall()
            matches = True
        except duckdb.Error as error:
            if "capturing groups" not in str(error):
                raise ConfigError(
                    f"The pattern {pattern!r} for the {what} cannot be used: {_reason(error)}.",
                    action="Write it in RE2's syntax: no lookahead, no backreferences.",
                ) from None
            matches = False
        if matches != wanted:
            raise ConfigError(
                f"The pattern {pattern!r} for the {what} must have exactly one group.",
                action="Put one pair of ( ) around the part that is the value, (?: ) elsewhere.",
            )


def _reason(error: duckdb.Error) -> str:
    return str(error).rpartition("Error: ")[2].strip().rstrip(".")


def first_group(pattern: str, text: str) -> str | None:
    """What a pattern's one group matches in a text; None if the pattern does not match."""
    found = _connection(os.getpid()).execute("select group_of($1, $2)", [text, pattern]).fetchall()
    value: str | None = found[0][0]
    return value
