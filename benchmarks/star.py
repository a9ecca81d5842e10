"""What the dashboard's queries cost on the star of a year of hourly runs.

    python -m benchmarks.star [--folder DIR] [--weeks 52] [--streams 50]

Four stages, 50 streams, ten-minute windows; each hour's run tells its own windows and the last
three before them again. One week is published by the real writer, run by run, merges and all. The
other weeks are that week's files, moved by so many weeks: as many files, rows and keys as if they
had been published, in minutes rather than hours. Queries are those of the Superset dashboard, asked
of catalog.duckdb; the best of five counts, by the clock; beside it the processor time of all
threads, which other work changes less. A star that is in --folder is used again.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from examples import hours
from fidelity.star import Place, catalogue, digests, dimensions
from fidelity.star.merge import row_groups
from fidelity.star.place import new_part
from fidelity.star.rows import DAY
from fidelity.star.schema import DIM_RUN, DIM_STATEMENT, FACT_DAY, FACTS
from fidelity.star.write import publish_star

LIMIT = 1.0  # seconds, of each query
WEEK = 7 * DAY

QUERIES = {
    "completeness, all year": """SELECT sum(delivered) / (sum(expected) - sum(filtered))
        FROM completeness_by_day WHERE against = 'source'""",
    "completeness by day and stage": """SELECT day, stage, sum(delivered) / sum(expected)
        FROM completeness_by_day WHERE against = 'source' GROUP BY ALL""",
    "records lost by day and stage": """SELECT day, stage, sum(lost)
        FROM completeness_by_day WHERE against != 'source' GROUP BY ALL""",
    "nines by day and stage": """SELECT day, stage, min(coalesce(nines, at_least))
        FROM nines WHERE against = 'source' GROUP BY ALL""",
    "worst streams": "SELECT * FROM worst_streams LIMIT 50",
    "losses by origin": """SELECT origin, stage, sum(lost) AS lost
        FROM losses_by_origin WHERE against != 'source' GROUP BY ALL ORDER BY lost DESC LIMIT 50""",
    "time to detect by day": """SELECT day, stage, max(seconds_to_detect)
        FROM time_to_detect WHERE against = 'source' GROUP BY ALL""",
    "restatements": "SELECT run, stage, sum(lost), count(*) FROM restatements GROUP BY ALL",
    "the last 30 days, by stream": """SELECT stream, stage, sum(lost) FROM daily
        WHERE day > (SELECT max(day) FROM star_current) - 30 GROUP BY ALL""",
    "the newest day's windows": """SELECT "window", stage, sum(lost), sum(in_flight) FROM balance
        WHERE day = (SELECT max(day) FROM star_current) GROUP BY ALL""",
}


def main() -> int:
    """Fill, measure, tell. 1 if a query missed the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.star")
    parser.add_argument("--folder", type=Path, help="keep the star here")
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--streams", type=int, default=50)
    asked = parser.parse_args()
    if asked.folder is not None:
        return _measure(asked.folder, asked.weeks, asked.streams)
    with tempfile.TemporaryDirectory() as folder:
        return _measure(Path(folder), asked.weeks, asked.streams)


def _measure(folder: Path, weeks: int, streams: int) -> int:
    place = Place(str(folder / "star"))
    if not (folder / "complete").exists():
        fill(place, weeks, streams)
        (folder / "complete").touch()
    catalogue.keep(place)
    files = [path for path in Path(place.uri).rglob("*.parquet") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"size on disk                 {size / 2**20:8.0f} MiB in {len(files):,} files")
    with duckdb.connect(f"{place.uri}/{catalogue.NAME}", read_only=True) as connection:
        for table in ("fact_balance", "fact_difference", "fact_lag", "fact_day", "dim_statement"):
            ((rows,),) = connection.execute(f"SELECT count(*) FROM {table}_files").fetchall()
            print(f"{table:28} {rows:12,} rows")
        seconds = {name: _best(connection, text) for name, text in QUERIES.items()}
    for name, (clock, processor) in seconds.items():
        limit = "" if clock < LIMIT else "   over the limit"
        print(f"{name:31} {clock:6.2f} s, processor {processor:5.2f} s{limit}")
    first = 24 * 7 * weeks
    taken = min(_publish(place, hour, streams) for hour in range(first, first + 3))
    print(f"{'publishing one more hour':31} {taken:6.2f} s")
    after, processor = _fresh(place)
    print(f"{'completeness by day, then':31} {after:6.2f} s, processor {processor:5.2f} s")
    return 1 if max(after, *(clock for clock, _ in seconds.values())) >= LIMIT else 0


def _fresh(place: Place) -> tuple[float, float]:
    """A query where the newest days are not merged."""
    with duckdb.connect(f"{place.uri}/{catalogue.NAME}", read_only=True) as connection:
        return _best(connection, QUERIES["completeness by day and stage"])


def fill(place: Place, weeks: int, streams: int) -> None:
    """A week of hourly runs, and the same week over and over."""
    shutil.rmtree(place.uri, ignore_errors=True)
    taken = sum(_publish(place, hour, streams) for hour in range(24 * 7))
    print(f"published by the writer      {24 * 7:8,} runs, {taken / (24 * 7):.2f} s each")
    for week in range(1, weeks):
        for hour in range(0, 24 * 7, 24):
            report = hours.report(24 * 7 * week + hour, 1)
            window = hours.START + week * WEEK + hour * hours.HOUR
            dimensions.write_windows(place, report, [window])
    _move(place, range(1, weeks))


def _publish(place: Place, hour: int, streams: int) -> float:
    """Seconds that it took, without making the report."""
    pipeline, report = hours.pipeline("."), hours.report(hour, streams)
    return _seconds(lambda: publish_star(place, pipeline, report))


def _move(place: Place, weeks: range) -> None:
    """The week's merged files, statements and runs, as those of other weeks."""
    statements = place.read_all(DIM_STATEMENT).drop_columns("file")
    runs = place.read_all(DIM_RUN).drop_columns("file")
    whole = pc.greater_equal(
        pc.fill_null(statements["window"].cast(pa.int64()), hours.START), hours.START
    )
    statements = statements.filter(whole)
    (newest,) = (part for part in place.parts(FACT_DAY) if part != "none")
    sums = place.read(FACT_DAY, newest)
    told, ran, summed = [statements], [runs], [sums]
    for week in weeks:
        parts = {part: new_part(time.time_ns() // 1000) for part in _unique(statements, "part")}
        moved = _moved(statements, week, parts)
        told.append(moved)
        ran.append(_moved(runs, week, parts))
        own = sums.filter(pc.is_in(sums["part"], pa.array(list(parts))))
        summed.append(_moved(own, week, parts))  # `merge` stays: one merge wrote them all
        for table in FACTS:
            for part, day in _files(statements, table.name):
                rows = place.read(table, part, f"{day:%Y-%m-%d}")
                later = day + timedelta(days=7 * week)
                groups = row_groups(table, _moved(rows, week, parts))
                place.write(table, parts[part], *groups, day=f"{later:%Y-%m-%d}")
    for table, pieces in ((FACT_DAY, summed), (DIM_STATEMENT, told), (DIM_RUN, ran)):
        for part in place.parts(table):
            if part != "none":
                place.remove([place.path(table, part)])
        place.write(table, new_part(time.time_ns() // 1000), pa.concat_tables(pieces))


def _files(statements: pa.Table, table: str) -> Iterator[tuple[str, date]]:
    column = {"fact_balance": "balances", "fact_difference": "differences", "fact_flaw": "flaws",
              "fact_lag": "lags"}[table]  # fmt: skip
    held = statements.filter(pc.greater(statements[column], 0))
    pairs = held.group_by(["part", "day"]).aggregate([])
    for row in pairs.to_pylist():
        yield row["part"], row["day"]


def _moved(rows: pa.Table, week: int, parts: dict[str, str]) -> pa.Table:
    """Rows of any table, so many weeks later: times, days, keys and names."""
    columns: list[pa.ChunkedArray] = []
    for field in rows.schema:
        values = rows[field.name]
        if pa.types.is_timestamp(field.type):
            values = pc.add(values.cast(pa.int64()), week * WEEK).cast(field.type)
        elif field.name == "day":
            later = pa.scalar(7 * week, pa.int32())
            values = pc.add(values.cast(pa.int32()), later).cast(field.type)
        elif field.name in ("statement_key", "run_key"):
            values = _renamed(values, lambda key: digests.key(f"{week} {key}"))
        elif field.name == "run":
            values = _renamed(values, lambda run: f"hour-{int(run[5:]) + 24 * 7 * week:05d}")
        elif field.name == "part":
            values = _renamed(values, lambda part: parts[part])
        columns.append(values)
    return pa.table(columns, schema=rows.schema)


def _renamed(values: pa.ChunkedArray, name: Callable[..., object]) -> pa.Array:
    held = values.combine_chunks().dictionary_encode()
    names = pa.array([name(value) for value in held.dictionary.to_pylist()], values.type)
    return names.take(held.indices)


def _unique(rows: pa.Table, column: str) -> list[str]:
    found: list[str] = pc.unique(rows[column]).to_pylist()
    return found


def _best(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    taken = []
    for _ in range(5):
        began, spent = time.perf_counter(), time.process_time()
        connection.execute(text).fetchall()
        taken.append((time.perf_counter() - began, time.process_time() - spent))
    return min(clock for clock, _ in taken), min(spent for _, spent in taken)


def _seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
