"""The same records in every format and from every kind of file add up to the same books."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from scans import LATER, START, in_force, lines, opened

from fidelity.config import Pipeline, Place, RecordSpec, Stage
from fidelity.scan import scan

pytestmark = pytest.mark.usefixtures("engine")

JSON = RecordSpec(format="json")
TEXT = RecordSpec(format="text", time=Place(builtin="line_start"))


def iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def written(folder: Path) -> Pipeline:
    """One stage for each way to keep the same 900 records of three producers."""
    content = b"".join(lines(origin, 0, 300) for origin in ("h1", "h2", "h3"))
    records = [json.loads(line) for line in content.splitlines()]
    (folder / "a.jsonl").write_bytes(content)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(content))
    (folder / "a.jsonl.zst").write_bytes(zstandard.compress(content))
    text = "".join(
        f"{iso(each['ts'])} stream={each['stream']} origin={each['origin']} fid={each['fid']}\n"
        for each in records
    )
    (folder / "a.log").write_text(text)
    table = pa.Table.from_pylist(records)
    pq.write_table(table, folder / "hex.parquet", row_group_size=100)
    ids = pa.array([int(record["fid"], 16) for record in records], pa.uint32())
    times = pa.array([record["ts"] for record in records]).cast(pa.timestamp("s", "UTC"))
    typed = pa.table(
        {"fid": ids, "ts": times, "stream": table["stream"], "origin": table["origin"]}
    )
    pq.write_table(typed, folder / "typed.parquet")
    claim = {
        "manifest": 1,
        "stream": "app",
        "start": iso(START),
        "end": iso(START + 600),
        "runs": [[0, 200]],
        "bytes": 1,
    }
    later = {**claim, "start": iso(START + 600), "end": iso(START + 1200), "runs": [[200, 100]]}
    claims = [{**part, "origin": f"h{n}"} for part in (claim, later) for n in (1, 2, 3)]
    (folder / "claims").write_text("".join(json.dumps(each) + "\n" for each in claims))
    kinds = {
        "source": ("a.jsonl", JSON),
        "gzip": ("a.jsonl.gz", JSON),
        "zstd": ("a.jsonl.zst", JSON),
        "text": ("a.log", TEXT),
        "hex": ("hex.parquet", RecordSpec(format="parquet")),
        "typed": ("typed.parquet", RecordSpec(format="parquet")),
        "claims": ("claims", RecordSpec(format="manifest")),
    }
    stages = tuple(
        Stage(
            name=name,
            kind="manifests" if name == "claims" else "files",
            after=None if name == "source" else "source",
            paths=(str(folder / path),),
            record=record,
        )
        for name, (path, record) in kinds.items()
    )
    return Pipeline(name="formats", store=str(folder / "store"), stages=stages)


def what_counts(row: dict[str, Any]) -> tuple[object, ...]:
    """What is the same in every format: sizes, arrivals and a manifest's times are not."""
    origins = [
        tuple(
            part[name]
            for name in ("origin", "records", "id_sum", "id_xor", "seq_first", "seq_last")
        )
        for part in row["origins"]
    ]
    return row["window"], row["stream"], row["records"], origins, row["cells"]


def test_the_same_records_are_the_same_books_in_every_format(tmp_path: Path) -> None:
    made = written(tmp_path)
    store = opened(made)
    result = scan(made, store, as_of=LATER)
    assert [(stage.records, stage.unreadable) for stage in result.stages] == [(900, ())] * 7
    books: dict[str, list[object]] = {}
    for row in in_force(store):
        books.setdefault(str(row["stage"]), []).append(what_counts(row))
    assert len(books["source"]) == 2
    assert books == dict.fromkeys((stage.name for stage in made.stages), books["source"])
