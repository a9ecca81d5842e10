"""What a record means: sql/decode_values.sql and sql/decode_records.sql, run by DuckDB.

Everything that the kernels are not sure of comes here, and what comes out is the law. Many scans
never need it: it is imported, and DuckDB with it, once somebody asks.
"""

import os
from collections.abc import Mapping
from functools import lru_cache

import duckdb
import pyarrow as pa

from fidelity import questions
from fidelity.errors import ConfigError

_QUESTIONS_KEPT = 16


@lru_cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    del process  # a forked child must not use its parent's
    connection = questions.database()  # of its own, since these settings are for all of it
    connection.execute("set threads = 1")
    # A plan is kept while its table's rows come and go: it must not rest on what they were like
    # when it was made (duckdb 1.5.5 drops `is not null` of columns that held no NULL by then).
    connection.execute("set disabled_optimizers = 'statistics_propagation'")
    questions.ask(connection, "decode_values")
    return connection


class Question:
    """The question about records that are read in one way, prepared to be asked often."""

    def __init__(self, process: int, spec: Mapping[str, object]) -> None:
        # A connection of its own: what is prepared must not be planned anew for another's sake.
        self._connection = _database(process).cursor()
        questions.ask(self._connection, "decode_spec", **spec)
        questions.ask(self._connection, "decode_batch")
        questions.ask(self._connection, "decode_records")

    def ask(self, batch: pa.Table) -> pa.Table:
        """Answers for each row of a batch (schema answers.BATCH), in any order.

        Returns n, malformed, id (int64), id_bytes (to be hashed), event_time, stream, origin.
        """
        self._connection.execute("truncate batch")
        self._connection.from_arrow(batch).insert_into("batch")
        return self._connection.execute("execute answer").to_arrow_table()


_asked: dict[tuple[int, str], Question] = {}


def question(spec: Mapping[str, object]) -> Question:
    """The question for one way to read records (the keys of sql/decode_spec.sql)."""
    process = os.getpid()
    key = (process, repr(sorted(spec.items())))
    if key not in _asked:
        while len(_asked) >= _QUESTIONS_KEPT:
            del _asked[next(iter(_asked))]
        _asked[key] = Question(process, spec)
    return _asked[key]


def check_pattern(pattern: str, what: str) -> None:
    """Raises ConfigError if a user's pattern is not RE2's syntax, or has not just one group."""
    connection = _database(os.getpid())
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
    found = _database(os.getpid()).execute("select group_of($1, $2)", [text, pattern]).fetchall()
    value: str | None = found[0][0]
    return value
