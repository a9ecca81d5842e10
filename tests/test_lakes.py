"""Sources, sinks and the store on S3 and on HDFS: the same as on a local disk, exactly."""

import gzip
import io
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from lakes import Lake
from scans import LATER, lines
from test_exact import (
    AS_OF,
    _line,
    expected_books,
    passed_on,
    produced,
    told_books,
    told_differences,
)
from test_store import batch, counted, put, row

from fidelity import audit as auditing
from fidelity.audit import audit, reconcile
from fidelity.config import Pipeline, RecordSpec, Stage, load
from fidelity.report.json import render
from fidelity.scan import scan
from fidelity.sources.filesystem import filesystem
from fidelity.store import Conflict, Store, runs
from fidelity.store.compact import compact
from fidelity.units import LOOKED
from tests.model import Record, differences, multiset

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("engine")]


def text_of(records: list[Record]) -> bytes:
    return "".join(f"{_line(record)}\n" for record in records).encode()


def parquet_of(records: list[Record]) -> bytes:
    table = pa.table(
        {
            "fid": pa.array([r.id for r in records], pa.uint32()),
            "ts": pa.array([r.time for r in records], pa.timestamp("us", "UTC")),
            "type": pa.array([r.stream for r in records], pa.string()),
            "host": pa.array([r.origin for r in records], pa.string()),
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=97)
    return file.getvalue()


def stage(name: str, lake: Lake, pattern: str, after: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": "files", "path": f"{lake.uri}/{pattern}"}
    return {name: made | ({"after": after} if after else {}) | ({"options": lake.options})}


def piped(folder: Path, store: Lake | None, **stages: dict[str, Any]) -> Pipeline:
    """A pipeline file; its store on the local disk unless given."""
    document = {
        "pipeline": "lakes",
        "store": f"{store.uri}/a/store" if store else "store",
        "options": store.options if store else {},
        "record": {"id": "fid", "time": "ts", "stream": "type", "origin": "host"},
        "stages": stages,
    }
    (folder / "pipeline.yaml").write_text(json.dumps(document))
    return load(folder / "pipeline.yaml")


def audited(pipeline: Pipeline) -> dict[str, Any]:
    answer = audit(pipeline, as_of=AS_OF, workers=1)
    assert not answer.errors
    document: dict[str, Any] = json.loads(render(answer.report))
    return document


def check(document: dict[str, Any], stage: str, before: list[Record], here: list[Record]) -> None:
    """The report's books and differences are the model's."""
    reference, found = multiset(before), multiset(here)
    assert told_books(document, stage, "source") == expected_books(reference, found)
    assert told_differences(document, stage, "source") == differences(reference, found)


def test_every_format_is_audited_exactly_and_only_once(lake: Lake, tmp_path: Path) -> None:
    random = Random(7)
    source = produced(random, 4, 400, 2)
    sink = passed_on(random, source, 0.02, 3)
    third = len(source) // 3
    lake.put("logs/a.jsonl", text_of(source[:third]))
    lake.put("logs/h 2/b.jsonl.gz", gzip.compress(text_of(source[third : 2 * third])))
    lake.put("logs/h 2/c.jsonl.zst", zstandard.compress(text_of(source[2 * third :])))
    lake.put("lake/hour=00/x.parquet", parquet_of(sink[:300]))
    lake.put("lake/hour=01/y.parquet", parquet_of(sink[300:]))
    lake.put("lake/_temporary/z.parquet", b"not yet")
    stages = stage("hosts", lake, "logs/**/*.jsonl*") | stage(
        "lake", lake, "lake/**/*.parquet", "hosts"
    )
    pipeline = piped(tmp_path, None, **stages)
    check(audited(pipeline), "lake", source, sink)

    # More of it: a file that grew, a new one, and one that a compaction of the lake replaced.
    more = produced(random, 4, 100, 2)
    arrived = passed_on(random, more, 0.05, 0)
    lake.put("logs/a.jsonl", text_of(source[:third]) + text_of(more[:50]))
    lake.put("logs/d.jsonl", text_of(more[50:]))
    lake.put("lake/hour=01/z.parquet", parquet_of(sink[300:] + arrived))
    lake.remove("lake/hour=01/y.parquet")
    check(audited(pipeline), "lake", source + more, sink + arrived)
    store = Store.open(pipeline.store, pipeline.name, pipeline.store_options)
    grown = [row for row in store.ledger("hosts") if row.unit.path.endswith("/a.jsonl")]
    assert sorted((row.unit.start, row.tally.records) for row in grown) == [
        (0, third),
        (len(text_of(source[:third])), 50),
    ]


def test_local_logs_are_audited_exactly_into_a_lake_on_s3_and_another_on_hdfs(
    bucket: Lake, folder: Lake, tmp_path: Path
) -> None:
    random = Random(11)
    source = produced(random, 6, 900, 3)
    on_s3, on_hdfs = passed_on(random, source, 0.02, 5), passed_on(random, source, 0.3, 0)
    (tmp_path / "logs").mkdir()
    for n in range(4):
        (tmp_path / "logs" / f"{n}.jsonl").write_bytes(text_of(source[n::4]))
        bucket.put(f"lake/{n}.parquet", parquet_of(on_s3[n::4]))
        folder.put(f"lake/{n}.jsonl.gz", gzip.compress(text_of(on_hdfs[n::4])))
    pipeline = piped(
        tmp_path,
        bucket,
        hosts={"kind": "files", "path": "logs/*.jsonl"},
        **stage("objects", bucket, "lake/*.parquet", "hosts"),
        **stage("blocks", folder, "lake/*.gz", "hosts"),
    )
    answer = audit(pipeline, as_of=AS_OF, workers=2)
    assert not answer.errors
    document = json.loads(render(answer.report))
    check(document, "objects", source, on_s3)
    check(document, "blocks", source, on_hdfs)
    assert document["verdict"] == "fail"
    # Compacted, the store tells the same, and every run is still there.
    store = Store.open(pipeline.store, "lakes", pipeline.store_options)
    compact(pipeline, store, everything=True)
    assert counted(store) == len(source + on_s3 + on_hdfs)
    again = json.loads(render(reconcile(pipeline, as_of=AS_OF).report))
    check(again, "objects", source, on_s3)
    check(again, "blocks", source, on_hdfs)
    assert runs.names(store) == [again["run"], document["run"]]
    assert runs.kept(store).run == again["run"]


def in_threads(*work: Callable[[], None]) -> None:
    """Do all at once; raise what one of them raised."""
    failed: list[BaseException] = []

    def guarded(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    if failed:
        raise failed[0]


def test_commits_at_once_all_count_once(bucket: Lake) -> None:
    options, times = bucket.options, 2
    uri = f"{bucket.uri}/store"

    def commits(name: str) -> None:
        store = Store.open(uri, "p", options)  # the first of them makes it
        for number in range(times):
            key = f"{name}-{number}"
            file = store.write_observations(key, [batch(key, key)])
            assert file is not None
            while True:
                with suppress(Conflict):
                    store.commit(key, "a", [row(key, key)], [file], store.frontier("a"))
                    break

    in_threads(*(lambda name=name: commits(name) for name in ("x", "y", "z")))
    store = Store.open(uri, "p", options)
    assert sorted(each.commit for each in store.ledger("a")) == list(range(1, 3 * times + 1))
    assert counted(store) == 3 * times


# Each engine and each kind of lake once: what is tested is the store's, whoever scans.
@pytest.mark.parametrize(
    ("engine", "lake"), [("local", "bucket"), ("spark", "folder")], indirect=True
)
def test_scans_of_one_stage_at_once_count_everything_once(lake: Lake) -> None:
    record = RecordSpec(format="json")
    made = Pipeline(
        name="p",
        store=f"{lake.uri}/store",
        store_options=lake.options,
        stages=(
            Stage(
                name="source",
                kind="files",
                paths=(f"{lake.uri}/logs/*.jsonl",),
                record=record,
                options=lake.options,
            ),
        ),
    )
    for n in range(3):
        lake.put(f"logs/{n}.jsonl", lines(f"h{n}", 0, 200))
    store = Store.open(made.store, "p", lake.options)

    def look() -> None:
        scan(made, store, as_of=LATER, workers=1)

    in_threads(look, look, look)
    rows = [each for each in store.ledger("source") if each.unit.key != LOOKED]
    assert sorted(each.tally.records for each in rows) == [200, 200, 200]
    assert counted(store) == 600
    assert store.frontier("source") == 3
    # Only what is new is read; compacted, the store tells the same; a run is kept.
    lake.put("logs/3.jsonl", lines("h3", 0, 7))
    (more,) = scan(made, store, as_of=LATER, workers=1).stages
    assert (more.units, more.records) == (1, 7)
    compact(made, store, everything=True)
    assert counted(store) == 607
    report = reconcile(made, as_of=LATER).report
    assert [row.observed for row in report.stages] == [607]
    assert runs.kept(store).run == report.run
    # Checked, it keeps what came of that as well, and stays a store.
    found = auditing.check(made)
    assert (found.run, found.verdict, found.errors) == (report.run, report.verdict, ())
    place = filesystem(store.uri, store.options)
    with place.open(found.place) as page:
        assert page.read().startswith(b"<!DOCTYPE html>")
    names = {
        entry.path.rpartition("/")[2] for entry in place.children(found.place.rpartition("/")[0])
    }
    assert names == {"index.html", "result.json"}
    assert auditing.check(made).place == found.place


def test_a_store_knows_what_it_knew(bucket: Lake) -> None:
    store = Store.open(f"{bucket.uri}/store", "p", bucket.options)
    put(store, ["u1"], "s1")
    put(store, ["u2"], "s2")
    assert [len(store.ledger("a", version)) for version in (0, 1, 2)] == [0, 1, 2]
    store.write_observations("dead", [batch("u3", "dead")])
    store.discard("dead")
    assert counted(store) == 2
