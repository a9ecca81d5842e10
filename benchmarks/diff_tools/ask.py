"""Asks reladiff or datacompy for the differences of two lakes: `python ask.py TOOL SOURCE SINK`.

Runs in the environment of requirements.lock, not in the project's; says what contenders.py says.
"""

import json
import sys
import tempfile
import time
from typing import Any

KEY = ["type", "host", "fid"]


def reladiff(source: str, sink: str) -> tuple[float, list[list[Any]]]:
    """Its keys must be one number: the producer's place above the id."""
    import duckdb
    from reladiff import Algorithm, connect_to_table, diff_tables

    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/both.duckdb"
        with duckdb.connect(path) as connection:
            for name, lake in (("source", source), ("sink", sink)):
                connection.execute(
                    f"CREATE VIEW {name} AS SELECT (list_position(['access', 'audit', 'debug'],"
                    " type) * 100 + substr(host, 6)::BIGINT) * 4294967296 + fid AS key"
                    f" FROM read_parquet('{lake}/*.parquet')"
                )
        sides = [
            connect_to_table({"driver": "duckdb", "filepath": path}, name, "key")
            for name in ("source", "sink")
        ]
        found = list(diff_tables(*sides, algorithm=Algorithm.HASHDIFF))
    named = [
        [None, None, int(key[0]) % (1 << 32), "lost" if sign == "-" else "duplicate"]
        for sign, key in found
    ]
    return time.perf_counter() - begun, named


def datacompy(source: str, sink: str) -> tuple[float, list[list[Any]]]:
    """Rows that one side lacks. Copies are numbered by the tool itself."""
    import polars
    from datacompy import PolarsCompare

    begun = time.perf_counter()
    sides = [polars.read_parquet(f"{lake}/*.parquet", columns=KEY) for lake in (source, sink)]
    compared = PolarsCompare(*sides, join_columns=KEY)
    found = [
        [*row, kind]
        for rows, kind in (
            (compared.df1_unq_rows, "lost"),
            (compared.df2_unq_rows, "duplicate"),
        )
        for row in rows.select(KEY).rows()
    ]
    return time.perf_counter() - begun, found


if __name__ == "__main__":
    begun = time.perf_counter()
    seconds, found = {"reladiff": reladiff, "datacompy (Polars)": datacompy}[sys.argv[1]](
        *sys.argv[2:]
    )
    started = time.perf_counter() - begun - seconds
    print(json.dumps({"seconds": seconds, "started": started, "found": sorted(found, key=str)}))
