"""Who is compared: each finds the differences between two lakes, in a process of its own.

A contender prints one line of JSON: `seconds` (its work: the imports and the start of a session
are not in it), `started` (those), and `found`: [type, host, fid, kind] of each difference, where
type and host are null if it does not tell whose the record was.

What they are asked is what a user would ask to get all differences named: which records are missing
in the sink, and which are there more often than in the source.
"""

import argparse
import importlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Found = list[tuple[str | None, str | None, int, str]]
Answer = tuple[float, Found]
KEY = "type, host, fid"


def _duckdb(question: str) -> Callable[[Path, Path, Path], Answer]:
    """A question to DuckDB for type, host, fid, r (copies in the source), d (in the sink)."""

    def act(source: Path, sink: Path, _: Path) -> Answer:
        import duckdb

        begun = time.perf_counter()
        connection = duckdb.connect()
        for name, folder in (("source", source), ("sink", sink)):
            connection.execute(f"CREATE VIEW {name} AS FROM read_parquet('{folder}/*.parquet')")
        rows = connection.execute(question).fetchall()
        return time.perf_counter() - begun, [_told(*row) for row in rows]

    return act


def _told(
    stream: str | None, origin: str | None, fid: int, r: int, d: int
) -> tuple[str | None, str | None, int, str]:
    return stream, origin, fid, "lost" if r > d else "duplicate"


def _full_join(names: str) -> str:
    """Each side grouped by its keys, the groups joined."""
    told = "type, host" if "type" in names else "NULL, NULL"
    return f"""
        SELECT {told}, fid, coalesce(r, 0), coalesce(d, 0)
        FROM (SELECT {names}, count(*) AS r FROM source GROUP BY ALL)
        FULL JOIN (SELECT {names}, count(*) AS d FROM sink GROUP BY ALL) USING ({names})
        WHERE r IS DISTINCT FROM d"""


def _except_all(names: str = KEY) -> str:
    return f"""
        SELECT *, 1, 0 FROM (SELECT {names} FROM source EXCEPT ALL SELECT {names} FROM sink)
        UNION ALL
        SELECT *, 0, 1 FROM (SELECT {names} FROM sink EXCEPT ALL SELECT {names} FROM source)"""


_SIGNED_SUMS = """
    SELECT NULL, NULL, fid, greatest(sum(n), 0), greatest(-sum(n), 0)
    FROM (SELECT fid, 1 AS n FROM source UNION ALL SELECT fid, -1 FROM sink)
    GROUP BY fid HAVING sum(n) <> 0"""


def counts(source: Path, sink: Path, _: Path) -> Answer:
    """Plain counts of both sides: what most pipelines watch."""
    import duckdb

    begun = time.perf_counter()
    r, d = (
        duckdb.sql(f"SELECT count(*) FROM read_parquet('{folder}/*.parquet')").fetchall()[0][0]
        for folder in (source, sink)
    )
    print(f"{r:,} records in, {d:,} out: {r - d:+,}", file=sys.stderr)
    return time.perf_counter() - begun, []


def _spark(question: str) -> Callable[[Path, Path, Path], Answer]:
    def act(source: Path, sink: Path, _: Path) -> Answer:
        spark = spark_session()
        begun = time.perf_counter()
        for name, folder in (("source", source), ("sink", sink)):
            spark.read.parquet(str(folder)).createOrReplaceTempView(name)
        rows = spark.sql(question).collect()
        return time.perf_counter() - begun, [_told(*row) for row in rows]

    return act


def spark_session(memory: str = "4g") -> Any:
    """Spark on two cores of this machine, with as many shuffle partitions."""
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", memory)
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "8")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    spark.range(1).count()  # the first job starts more of it
    return spark


_SPARK_JOIN = """
    SELECT type, host, fid, coalesce(r, 0), coalesce(d, 0)
    FROM (SELECT type, host, fid, count(*) AS r FROM source GROUP BY ALL)
    FULL OUTER JOIN (SELECT type, host, fid, count(*) AS d FROM sink GROUP BY ALL)
    USING (type, host, fid)
    WHERE NOT (r <=> d)"""


def pipeline(source: Path, sink: Path, store: Path) -> Any:
    """Both lakes as the stages of a pipeline."""
    from fidelity.config import Pipeline, Place, RecordSpec, Stage

    record = RecordSpec(
        format="parquet",
        id=Place(field="fid"),
        time=Place(field="ts"),
        stream=Place(field="type"),
        origin=Place(field="host"),
    )
    return Pipeline(
        name="compare",
        store=str(store),
        stages=(
            Stage(name="source", kind="files", paths=(f"{source}/*.parquet",), record=record),
            Stage(
                name="lake", kind="files", paths=(f"{sink}/*.parquet",), record=record,
                after="source",
            ),
        ),
    )  # fmt: skip


def _named(report: Any) -> Found:
    rows = [row for row in report.differences.to_pylist() if row["against"] == "source"]
    return [
        (row["stream"], row["origin"], row["id"], row["kind"])
        for row in rows
        for _ in range(row["copies"])
    ]


def with_scans(source: Path, sink: Path, store: Path) -> Answer:
    """A first audit: both lakes are scanned, by workers, into a new store."""
    from fidelity.audit import audit

    made = pipeline(source, sink, store)
    begun = time.perf_counter()
    report = audit(made).report
    return time.perf_counter() - begun, _named(report)


def from_observations(source: Path, sink: Path, store: Path) -> Answer:
    """The books of what was scanned before: the quickest of five, in a process that has begun."""
    from fidelity.audit import reconcile

    made, seconds = pipeline(source, sink, store), []
    for _ in range(6):
        begun = time.perf_counter()
        report = reconcile(made).report
        seconds.append(time.perf_counter() - begun)
    first, *others = seconds
    print(f"the first, which loads its code: {first:.2f} s", file=sys.stderr)
    return min(others), _named(report)


CONTENDERS: dict[str, Callable[[Path, Path, Path], Answer]] = {
    "plain counts": counts,
    "Spark full outer join": _spark(_SPARK_JOIN),
    "Spark exceptAll": _spark(_except_all()),
    "DuckDB EXCEPT ALL": _duckdb(_except_all()),
    "DuckDB full join, records": _duckdb(_full_join(KEY)),
    "DuckDB full join, ids": _duckdb(_full_join("fid")),
    "DuckDB signed sums, ids": _duckdb(_SIGNED_SUMS),
    "Fidelity, with scans": with_scans,
    "Fidelity, from observations": from_observations,
}
OTHERS = ("reladiff", "datacompy (Polars)")
"""In an environment of their own: benchmarks/diff_tools."""

IDS_ONLY = ("DuckDB full join, ids", "DuckDB signed sums, ids", "reladiff")
"""They name the id, not whose it is; two records that share one by chance are one to them."""

_LOADED = {"Duck": "duckdb", "plain": "duckdb", "Spar": "pyspark.sql"}


def answer(name: str, source: Path, sink: Path, store: Path) -> dict[str, Any]:
    """What a contender says, as JSON can hold it."""
    begun = time.perf_counter()
    for start, module in _LOADED.items():
        if name.startswith(start):
            importlib.import_module(module)
    if name == "Fidelity, with scans":
        shutil.rmtree(store, ignore_errors=True)
    seconds, found = CONTENDERS[name](source, sink, store)
    started = time.perf_counter() - begun - seconds
    return {"seconds": seconds, "started": started, "found": _sorted(found)}


def _sorted(found: Iterable[tuple[str | None, str | None, int, str]]) -> list[list[Any]]:
    return sorted(list(each) for each in found)


def main() -> None:
    """`python -m benchmarks.contenders NAME --source DIR --sink DIR --store DIR`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("name", choices=list(CONTENDERS))
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--sink", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    given = parser.parse_args()
    if given.name.startswith("Fidelity"):
        from fidelity.lean import become_lean

        become_lean()  # as the command does
    print(json.dumps(answer(given.name, given.source, given.sink, given.store)))


if __name__ == "__main__":
    main()
