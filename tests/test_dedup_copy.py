"""A clean copy of a stage: every record once, in the same files, and books that balance."""

import contextlib
import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audits import LAKE, SOURCE, START, Folder, Outcome, line, lines
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st
from kafka_records import read_by_librdkafka
from lakes import Lake
from servers import MakeTopic
from test_dedup import members, runs_of

from examples.brokers import Broker
from fidelity.dedup.repeats import repeats
from fidelity.identity import id_of, producer_seed
from jobs import dedup as job

DOCS = Path(__file__).parents[1] / "docs"
DEEP = LAKE.replace("lake/*", "lake/**")
HIVE = 'lake: {kind: files, path: "lake/**/*.parquet", after: source}'


def copy(folder: Folder, *options: str, to: str = "clean", status: int = 0) -> Any:
    """The books of a copy of the stage `lake`, or what was said of why there is none."""
    target = to if "://" in to else str(folder.path / to)
    outcome = folder.run("dedup", "--stage", "lake", "--output", target, "--json", *options)
    assert outcome.status == status, outcome.err
    if status:
        assert not outcome.out
        return outcome.err
    books = outcome.report
    assert books["read"] == books["kept"] + books["dropped"]
    return books


def audited(folder: Folder, stage: str, status: int = 0) -> Outcome:
    """An audit of the copy in place of the lake."""
    folder.configure(SOURCE, stage)
    return folder.audit(status, "--as-of", "2026-04-01")


def parquet(folder: Folder, name: str, numbers: list[int], origin: str = "h1", **how: Any) -> Path:
    """A Parquet file as other tools write them: nested, decimal, with statistics and metadata."""
    seed, start = producer_seed("access", origin), int(START.timestamp() * 1e6)
    columns = {
        "fid": pa.array([id_of(number, seed) for number in numbers], pa.uint32()),
        "ts": pa.array([start + 30_000_000 * n for n in numbers], pa.timestamp("us", "UTC")),
        "type": pa.array(["access"] * len(numbers)).dictionary_encode(),
        "host": pa.array([origin] * len(numbers)),
        "price": pa.array([None] * len(numbers), pa.decimal128(9, 2)),
        "tags": pa.array([[{"k": str(n), "v": [n]}] for n in numbers]),
        "copy": pa.array([name] * len(numbers)),
    }
    table = pa.table(columns).replace_schema_metadata({"made by": "a test"})
    path = folder.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **{"row_group_size": 7, "compression": "zstd", **how})
    return path


def test_of_all_copies_in_partitioned_parquet_the_first_is_kept_in_files_that_look_alike(
    tmp_path: Path,
) -> None:
    folder = Folder(tmp_path, SOURCE, HIVE)
    folder.put("source/a", lines(60) + lines(10, "h2"))
    spark_like = {"use_deprecated_int96_timestamps": True, "store_decimal_as_integer": True}
    parquet(folder, "lake/date=2026-03-01/a.parquet", [*range(20), *range(5)])
    parquet(folder, "lake/date=2026-03-01/b.parquet", [*range(15, 40)], compression="snappy")
    parquet(folder, "lake/date=2026-03-02/a.parquet", [*range(30, 60), 0, 59], **spark_like)
    parquet(folder, "lake/date=2026-03-02/b.parquet", [*range(10)], "h2", compression="none")
    parquet(folder, "lake/date=2026-03-02/c.parquet", [*range(10)], version="1.0")
    books = copy(folder)
    assert (books["read"], books["kept"], books["dropped"]) == (102, 70, 32)
    assert (books["files"], books["flaws"], books["elsewhere"]) == (5, {}, 0)
    for path in (tmp_path / "lake").rglob("*.parquet"):
        before = pq.ParquetFile(path)
        after = pq.ParquetFile(tmp_path / "clean" / path.relative_to(tmp_path / "lake"))
        assert after.schema.equals(before.schema)
        assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
        rows = before.read().to_pylist()
        assert all(row in rows for row in after.read().to_pylist())
        if after.metadata.num_row_groups:
            codecs = [f.metadata.row_group(0).column(0).compression for f in (before, after)]
            assert codecs[0] == codecs[1]
    assert pq.read_table(tmp_path / "clean/date=2026-03-02/c.parquet").num_rows == 0
    assert not [name for name in os.listdir(tmp_path) if "fidelity" in name]
    found = audited(folder, 'lake: {kind: files, path: "clean/**/*.parquet", after: source}')
    assert found.counts() == (70, 70, 0, 0, 0, 0)


def test_lines_are_kept_byte_for_byte_plain_and_compressed(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SOURCE, DEEP)
    every = lines(40)
    folder.put("source/a", every)
    odd = [b"\xef\xbb\xbf" + every[0], b"\n", every[1].replace(b"\n", b"\r\n"), b"not json\n"]
    odd += [every[0], b'{"ts": "2026-03-01T10:00:00Z"}\n', b"  \r\n", every[2].rstrip(b"\n")]
    folder.put("lake/a.jsonl", odd)
    folder.put("lake/b/c.jsonl.gz", gzip.compress(b"".join([*every[1:30], b"not json\n"])))
    packed = pa.compress(b"".join(every[20:] + every[25:30]), "zstd", asbytes=True)
    folder.put("lake/b/d.jsonl.zst", packed)
    books = copy(folder)
    assert (books["read"], books["kept"], books["dropped"]) == (6 + 30 + 25, 43, 18)
    assert books["flaws"] == {"malformed": 2, "unstamped": 1}
    assert (tmp_path / "clean/a.jsonl").read_bytes() == b"".join(odd[:4] + odd[5:])
    content = gzip.decompress((tmp_path / "clean/b/c.jsonl.gz").read_bytes())
    assert content == b"".join([*every[3:30], b"not json\n"])
    with pa.CompressedInputStream(pa.OSFile(str(tmp_path / "clean/b/d.jsonl.zst")), "zstd") as text:
        assert text.read() == b"".join(every[30:])
    with (tmp_path / "clean/a.jsonl").open("ab") as file:
        file.write(b"\n")  # an audit waits for the end of a line
    found = audited(folder, 'lake: {kind: files, path: "clean/**", after: source}')
    assert found.counts() == (40, 40, 0, 0, 0, 0)


def test_a_copy_in_another_window_is_told_and_kept_if_it_is_asked_for(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    moved = line(3, ts="2026-03-02T10:00:00Z")
    folder.put("lake/a", [*lines(30), moved, line(4)])
    target = str(tmp_path / "clean")
    outcome = folder.run("dedup", "--stage", "lake", "--output", target)
    assert "of those dropped, 1 lie in another window" in outcome.out
    assert "dropped                2" in outcome.out
    books = copy(folder, "--by-window", to="second")
    assert (books["kept"], books["dropped"]) == (31, 1)
    assert (tmp_path / "second/a").read_bytes() == b"".join([*lines(30), moved])


@given(st.lists(st.sets(st.integers(0, 30)), max_size=6))
def test_what_is_repeated_is_what_earlier_units_hold(units: list[set[int]]) -> None:
    group = (0, "app", "h1")
    found = repeats([{group: runs_of(numbers)} if numbers else {} for numbers in units])
    for number, mine in enumerate(found):
        earlier = set[int]().union(*units[:number])
        assert members(mine.get(group, np.empty((2, 0)))) == earlier & units[number]


@pytest.mark.usefixtures("spark")
def test_on_spark_the_copy_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Folder(tmp_path, SOURCE, DEEP)
    for number in range(6):
        folder.put(f"lake/day={number}/a.gz", gzip.compress(b"".join(lines(50, first=30 * number))))
    assert copy(folder)["dropped"] == 100
    arguments = ["--pipeline", str(folder.file), "--stage", "lake"]
    assert job.entered(job.app, "dedup.py", [*arguments, "-o", str(tmp_path / "spark")]) == 0
    assert "kept                 200" in capsys.readouterr().out
    for path in (tmp_path / "clean").rglob("*.gz"):
        other = tmp_path / "spark" / path.relative_to(tmp_path / "clean")
        assert gzip.decompress(other.read_bytes()) == gzip.decompress(path.read_bytes())
    folder.put("lake/day=3/b.gz", gzip.compress(b"".join(lines()))[:-20])
    assert job.entered(job.app, "dedup.py", [*arguments, "-o", str(tmp_path / "third")]) == 2
    assert "b.gz" in capsys.readouterr().err
    assert {"third"} & set(folder.left()) == set()


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda folder: folder.put("clean/x", b"there"), "the output is not empty"),
        (lambda folder: folder.put("clean", b"there"), "the output is a file"),
        (lambda folder: folder.put("lake/b.gz", gzip.compress(b"x" * 999)[:-9]), "b.gz"),
        (lambda folder: os.symlink("nowhere", folder.path / "lake/b"), "lake/b"),
        (lambda folder: folder.configure(SOURCE, LAKE.replace("lake/*", "lost/*")), "lost"),
        (
            lambda folder: folder.configure(SOURCE, LAKE[:-1] + ", record: {id: content}}"),
            "ids are hashes",
        ),
    ],
)
def test_what_cannot_be_copied_whole_is_not_copied_at_all(
    tmp_path: Path, prepare: Any, says: str
) -> None:
    folder = Folder(tmp_path).filled()
    prepare(folder)
    before = folder.left()
    assert says in copy(folder, status=2)
    assert folder.left() == before


@pytest.mark.parametrize(
    ("options", "to", "says"),
    [
        (["--stage", "lakes"], "clean", "no stage `lakes`"),
        ([], "lake/clean", "among the stage's own files"),
        (["--offsets", "0:1-2"], "clean", "files have no offsets"),
        (["--path", "lake/*.none"], "clean", "none of the files of stage `lake`"),
    ],
)
def test_bad_questions_are_answered(
    tmp_path: Path, options: list[str], to: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Folder(tmp_path).filled()
    assert says in copy(folder, *options, to=to, status=2)


def test_a_full_disk_publishes_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.put("lake/a", lines(2000))
    limit = ["bash", "-c", 'ulimit -f 16; exec "$@"', "bash"]
    process = folder.start(
        *("dedup", str(folder.file), "--stage", "lake", "--output", str(tmp_path / "clean")),
        before=limit,
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the copy cannot be written: File too large" in err.decode()
    assert folder.left() == ["lake", "pipeline.yaml", "source"]


@pytest.mark.servers
def test_a_copy_on_s3_and_hdfs_appears_under_its_name(lake: Lake, tmp_path: Path) -> None:
    lake.put("raw/day=1/a.jsonl", b"".join(lines(20)))
    lake.put("raw/day=2/a.jsonl", b"".join(lines(30, first=10)))
    stage = f"lake: {{kind: files, path: {lake.uri}/raw/**, options: {json.dumps(lake.options)}, "
    folder = Folder(tmp_path, SOURCE, stage + "after: source}")
    folder.put("source/a", lines(40))
    books = copy(folder, to=f"{lake.uri}/clean")
    assert (books["read"], books["kept"], books["dropped"]) == (50, 40, 10)
    assert "not empty" in copy(folder, to=f"{lake.uri}/clean", status=2)
    folder.configure(SOURCE, stage.replace("/raw/", "/clean/") + "after: source}")
    assert folder.audit(0, "--as-of", "2026-04-01").counts() == (40, 40, 0, 0, 0, 0)


@pytest.mark.servers
def test_a_topic_is_copied_with_keys_headers_and_times_in_one_transaction(
    kafka: Broker, make_topic: MakeTopic, tmp_path: Path
) -> None:
    topic, clean, part = make_topic(2), make_topic(2), make_topic(2)
    producer = Producer({"bootstrap.servers": kafka.address})
    every = [*lines(50), *lines(30, "h2"), *lines(20, first=10), b"not json"]
    for number, value in enumerate(every):
        producer.produce(
            topic, value, f"k{number}".encode(), number % 2, timestamp=1_700_000_000_000 + number,
            headers=[("trace", bytes([number])), ("trace", None), ("empty", b"")],
        )  # fmt: skip
    producer.flush()
    queue = f"lake: {{kind: kafka, brokers: '{kafka.address}', topic: {topic}, after: source}}"
    folder = Folder(tmp_path, SOURCE, queue)
    outcome = folder.run("dedup", "--stage", "lake", "--output", clean, "--json")
    assert outcome.status == 0, outcome.err
    books = outcome.report
    assert (books["read"], books["kept"], books["dropped"]) == (101, 81, 20)
    assert books["flaws"] == {"malformed": 1}
    before = read_by_librdkafka(kafka.address, topic, 2, ["trace", "empty"])
    after = read_by_librdkafka(kafka.address, clean, 2, ["trace", "empty"])
    assert [row._replace(offset=0) for row in after] == [
        row._replace(offset=0) for row in before if not 40 <= row.offset < 50
    ]
    assert "not empty" in folder.run("dedup", "--stage", "lake", "--output", clean).err
    ranged = ["--stage", "lake", "--output", part, "--offsets", "0:5-9", "--offsets", "1:0-3"]
    assert folder.run("dedup", *ranged, "--json").report["kept"] == 7
    assert [(row.partition, row.key) for row in read_by_librdkafka(kafka.address, part, 2)] == [
        *((0, f"k{2 * offset}".encode()) for offset in range(5, 9)),
        *((1, f"k{2 * offset + 1}".encode()) for offset in range(3)),
    ]


@pytest.mark.servers
def test_the_consumer_that_the_docs_show_is_exact_though_stopped_before_it_commits(
    kafka: Broker, make_topic: MakeTopic, tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    class Stopping(Producer):
        commits = 0

        def commit_transaction(self) -> None:
            Stopping.commits += 1
            if Stopping.commits in (1, 4):
                raise StoppedError
            super().commit_transaction()

    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "dedup.md").read_text("utf-8"), re.S)
    shown: dict[str, Any] = {}
    exec(next(block for block in blocks if "def relay" in block), shown)
    shown["Producer"] = Stopping
    topic, clean = make_topic(), make_topic()
    producer = Producer({"bootstrap.servers": kafka.address})
    every = lines(200)
    for value in [*every[:90], *every[50:120], *every[:10], *every[100:]]:
        producer.produce(topic, value)
    producer.flush()
    arguments = (kafka.address, topic, 0, clean, tmp_path / "state")
    for ends in (
        pytest.raises(StoppedError),
        pytest.raises(StoppedError),
        contextlib.nullcontext(),
    ):
        left = iter([True] * 12)
        with ends:
            shown["relay"](*arguments, lambda left=left: next(left, False), most=45)
    there = read_by_librdkafka(kafka.address, clean)
    assert [record.value for record in there] == every
