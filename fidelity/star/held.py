"""What a star holds: its publications and their statements, and which of them count.

Laws: what does not count any more never counts again, so it may be removed at any time. What is
read here was written before it was referred to: the runs are read first.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from fidelity.config import mask
from fidelity.errors import StoreError
from fidelity.questions import ask, database, question
from fidelity.star.place import ANEW, Gone, Place
from fidelity.star.rows import WHOLE
from fidelity.star.schema import DIM_RUN, DIM_STATEMENT

_TRIES = 20  # others clear files away, which takes moments
_NAMED = pa.field("file", pa.string())
RUNS = DIM_RUN.schema.append(_NAMED)
STATEMENTS = DIM_STATEMENT.schema.append(_NAMED)
T = TypeVar("T")


class Said(NamedTuple):
    """What a statement says of a window: enough to tell whether another one says the same."""

    key: int
    digest: int
    rows: int  # of balances, differences and lags; 0: there is nothing


@dataclass(frozen=True)
class Held:
    """The rows of dim_run's and dim_statement's files, each with the `file` that it is in."""

    runs: pa.Table
    statements: pa.Table

    @classmethod
    def of(cls, place: Place) -> "Held":
        """What is there now. Raises StoreError."""

        def read() -> "Held":
            runs = place.read_all(DIM_RUN)
            return cls(runs, place.read_all(DIM_STATEMENT))

        return while_it_changes(place, read)

    def with_more(self, part: str, run: pa.Table, statements: pa.Table) -> "Held":
        """And what was just written as `part`."""
        return Held(
            pa.concat_tables([self.runs, _named(run, part)]),
            pa.concat_tables([self.statements, _named(statements, part)]),
        )

    @cached_property
    def _asked(self) -> duckdb.DuckDBPyConnection:
        connection = database()  # whose settings are its own
        connection.execute("SET threads = 1")  # small tables: more threads take longer to start
        connection.register("dim_run_files", self.runs)
        connection.register("dim_statement_files", self.statements)
        for name in ("star_runs", "star_statements", "star_current"):
            connection.execute(f"CREATE TEMP TABLE {name} AS {question(name)}")
        return connection

    @cached_property
    def marked_runs(self) -> pa.Table:
        """The rows of dim_run, with `live`."""
        return self._asked.execute("FROM star_runs").to_arrow_table()

    @cached_property
    def marked(self) -> pa.Table:
        """The rows of dim_statement, with `live`, `known` and what they are of."""
        return self._asked.execute("FROM star_statements").to_arrow_table()

    @property
    def current(self) -> pa.Array:
        """The keys of the statements that are the current truth."""
        found = self._asked.execute("SELECT statement_key FROM star_current").to_arrow_table()
        return found["statement_key"].combine_chunks()

    def publication(self, pipeline: str, run: str) -> pa.Table | None:
        """The row of dim_run that counts for a run."""
        rows = self.marked_runs
        own = pc.and_(pc.equal(rows["pipeline"], pipeline), pc.equal(rows["run"], run))
        found = rows.filter(pc.and_(own, rows["live"])).select(DIM_RUN.schema.names)
        return found.cast(DIM_RUN.schema) if len(found) else None

    def statements_of(self, publication: pa.Table) -> dict[int, Said]:
        """What a publication says of each window, and of WHOLE; `publication` is its row."""
        own = pc.is_in(self.marked["run_key"], publication["run_key"].combine_chunks())
        rows = self.marked.filter(pc.and_(own, self.marked["live"]))
        found = zip(
            rows["window"].cast(pa.int64()).fill_null(WHOLE).to_pylist(),
            rows["statement_key"].to_pylist(),
            rows["digest"].to_pylist(),
            pc.add(pc.add(rows["balances"], rows["differences"]), rows["lags"]).to_pylist(),
            strict=True,
        )
        return {window: Said(*said) for window, *said in found}

    def baseline(self, pipeline: str, as_of: int, run: str) -> dict[int, Said]:
        """What the newest run before this one said of each window."""
        rows = ask(self._asked, "star_baseline", pipeline=pipeline, as_of=as_of, run=run).fetchall()
        return {window: Said(*said) for window, *said in rows}

    def silent(
        self, windows: Iterable[int], pipeline: str, as_of: int, run: str
    ) -> dict[int, tuple[int, str]]:
        """Who says of these windows, without a word, what the run of `as_of` and `run` says.

        Of each the (run_key, run) of the next newer run, unless a statement comes before or there.
        """
        self._asked.register("windows", pa.table({"window": pa.array(windows, pa.int64())}))
        rows = ask(self._asked, "star_silent", pipeline=pipeline, as_of=as_of, run=run).fetchall()
        return {window: (run_key, name) for window, run_key, name in rows}

    def dead_files(self) -> tuple[list[str], list[str]]:
        """The parts of dim_run and of dim_statement none of whose rows counts any more."""
        runs = self.marked_runs.select(["file", "live"]).append_column(
            "known", pa.repeat(pa.scalar(True), len(self.marked_runs))
        )
        return _all_dead(runs), _all_dead(self.marked.select(["file", "live", "known"]))

    def dead_parts(self) -> list[tuple[str, Any]]:
        """(part, day) of the facts' files none of whose rows counts any more."""
        rows = self.marked.select(["part", "day", "live", "known"])
        found = rows.group_by(["part", "day"]).aggregate([("live", "any"), ("known", "all")])
        dead = pc.and_(pc.invert(found["live_any"]), found["known_all"])
        return [(row["part"], row["day"]) for row in found.filter(dead).to_pylist()]


def while_it_changes(place: Place, do: Callable[[], T]) -> T:
    """Do what reads files of the star, again if they were cleared away. Raises StoreError."""
    for _ in range(_TRIES):
        with suppress(Gone):
            return do()
    what = "the star changes faster than it can be read."
    action = (
        f"Publish again. If it says so once more, a file is missing: {ANEW[0].lower()}{ANEW[1:]}"
    )
    raise StoreError(what, where=mask(place.uri), action=action)


def _named(rows: pa.Table, part: str) -> pa.Table:
    return rows.append_column(_NAMED, pa.repeat(pa.scalar(part), len(rows)))


def _all_dead(rows: pa.Table) -> list[str]:
    found = rows.group_by("file").aggregate([("live", "any"), ("known", "all")])
    dead = pc.and_(pc.invert(found["live_any"]), found["known_all"])
    names: list[str] = found.filter(dead)["file"].to_pylist()
    return names
