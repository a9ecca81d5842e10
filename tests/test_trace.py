"""Tracing: counts by reading again, exactly, or the reason why not."""

import gzip
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_records import producer
from servers import MakeTopic

from examples.brokers import Broker
from fidelity.config import Pipeline, RecordSpec, Stage
from fidelity.decode import Names
from fidelity.errors import StoreError
from fidelity.observe.tally import Tallying
from fidelity.questions import connect
from fidelity.reading import Reading
from fidelity.sources import plan
from fidelity.trace import Traced, copies, trace
from fidelity.units import LedgerRow, Tally, Unit

MINUTE = 60_000_000
WINDOW = 10 * MINUTE
START = 1_772_359_200_000_000 // WINDOW * WINDOW
NOW = START + 100_000 * WINDOW

Copy = tuple[int, str, str, int]  # window number, stream, origin, id


def pipeline(folder: Path, workers: int = 1, format: str = "json") -> Pipeline:
    spec = RecordSpec(format=format)  # type: ignore[arg-type]
    for name in ("source", "lake"):
        (folder / name).mkdir(exist_ok=True)
    stages = tuple(
        Stage(
            name=name,
            kind="files",
            after=after,
            paths=(str(folder / name / "*"),),
            record=spec,
        )
        for name, after in (("source", None), ("lake", "source"))
    )
    return Pipeline(name="p", store="none", window=WINDOW, settle=0, stages=stages, workers=workers)


def write(path: Path, some: Iterable[Copy]) -> Path:
    with path.open("a") as file:
        for at, (window, stream, origin, id) in enumerate(some):
            time = START + window * WINDOW + at % WINDOW
            record = {"fid": f"{id:08x}", "ts": time, "stream": stream, "origin": origin}
            file.write(json.dumps(record) + "\n")
    return path


def scanned(pipeline: Pipeline, before: Iterable[LedgerRow] = ()) -> list[LedgerRow]:
    """What a scan writes into the ledger."""
    rows = list(before)
    for stage in pipeline.stages:
        mine = [row for row in rows if row.unit.stage == stage.name]
        found = plan(stage, mine, NOW, pipeline.settle)
        rows += found.rows + [read(unit, stage) for unit in found.units]
    return rows


def read(unit: Unit, stage: Stage) -> LedgerRow:
    tallying, reading = Tallying(), Reading(unit, stage, Names(), WINDOW)
    for records in reading:
        tallying.add(records)
    assert reading.end == unit.end or unit.end == -1
    unit = Unit(**{name: getattr(unit, name) for name in Unit.__slots__} | {"end": reading.end})
    return LedgerRow(unit, "read", "s", NOW, "spec", tallying.done(), commit=0)


def scope(number: int, stream: str) -> tuple[int, str]:
    return START + number * WINDOW, stream


def found(traced: Traced) -> dict[Copy, tuple[int, int]]:
    windows = ((at - START) // WINDOW for at in traced.rows["window"].cast(pa.int64()).to_pylist())
    names = ("stream", "origin", "id", "r", "d")
    columns = [traced.rows[name].to_pylist() for name in names]
    return {(w, s, o, id): (r, d) for w, s, o, id, r, d in zip(windows, *columns, strict=True)}


def asked(*some: tuple[int, str, int]) -> pa.Table:
    return pa.table(
        {
            "window": pa.array([START + w * WINDOW for w, _, _ in some]).cast(
                pa.timestamp("us", "UTC")
            ),
            "stream": [stream for _, stream, _ in some],
            "id": pa.array([id for _, _, id in some], pa.uint32()),
        }
    )


stage_copies = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 6)),
    max_size=40,
)
some_scopes = st.sets(st.tuples(st.integers(0, 4), st.sampled_from("abc")), min_size=1, max_size=6)


@settings(max_examples=40)
@given(
    reference=st.lists(stage_copies, max_size=3),
    here=st.lists(stage_copies, max_size=3),
    wanted=some_scopes,
    ids=st.none() | st.sets(st.integers(0, 8), max_size=4),
)
def test_traced_counts_equal_counting_one_by_one(
    reference: list[list[Copy]],
    here: list[list[Copy]],
    wanted: set[tuple[int, str]],
    ids: set[int] | None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        audit = pipeline(Path(folder))
        for name, files in (("source", reference), ("lake", here)):
            for number, some in enumerate(files):
                write(Path(folder, name, f"{number}.log"), some)
        question = None
        if ids is not None:
            question = asked(*((w, s, id) for w, s in wanted for id in ids))
        traced = trace(
            audit, "source", "lake", scanned(audit), [scope(*each) for each in wanted], question
        )
        r, d = (Counter(copy for some in files for copy in some) for files in (reference, here))
        expected = {
            copy: (r[copy], d[copy])
            for copy in r | d
            if copy[:2] in wanted and (r[copy] != d[copy] if ids is None else copy[3] in ids)
        }
        assert found(traced) == expected
        assert traced.untraceable == {}


def many(numbers: Iterable[int], window: int = 0) -> list[Copy]:
    return [(window, "a", f"host-{n % 3}", n * 2_654_435_761 % 2**32) for n in numbers]


def test_processes_and_spilling_change_nothing(tmp_path: Path) -> None:
    alone, together = pipeline(tmp_path, workers=1), pipeline(tmp_path, workers=2)
    for part in range(6):
        write(tmp_path / "source" / f"{part}.log", many(range(part, 60_000, 6)))
    write(tmp_path / "lake" / "0.log", many(range(30_000)))
    ledger = [inflated(row) for row in scanned(alone)]
    scopes = [scope(0, "a")]
    exact = found(trace(alone, "source", "lake", ledger, scopes))
    assert set(exact.values()) == {(1, 0)}
    assert len(exact) == 30_000
    settings = told_settings()
    for _ in range(2):  # each spills into a folder of its own
        assert found(trace(together, "source", "lake", ledger, scopes, memory="40MB")) == exact
        assert told_settings() == settings


def told_settings() -> list[tuple[str, str]]:
    """Of the database that all other questions of this process are asked of."""
    with connect() as connection:
        question = "SELECT name, value FROM duckdb_settings() ORDER BY name"
        return connection.execute(question).fetchall()


def inflated(row: LedgerRow) -> LedgerRow:
    """Looks large enough to be worth a process apart."""
    size = 64 << 20
    unit = Unit(**{name: getattr(row.unit, name) for name in Unit.__slots__} | {"size": size})
    return LedgerRow(unit, row.status, row.scan, row.scanned_at, row.spec, row.tally)


def test_only_units_that_touch_the_scopes_are_read(tmp_path: Path) -> None:
    audit = pipeline(tmp_path)
    near = write(tmp_path / "source" / "near.log", many(range(3), window=1))
    far = write(tmp_path / "source" / "far.log", many(range(3), window=2))
    ledger = scanned(audit)
    far.unlink()
    traced = trace(audit, "source", "lake", ledger, [scope(1, "a")])
    assert (len(found(traced)), traced.untraceable) == (3, {})
    near.unlink()
    assert list(trace(audit, "source", "lake", ledger, [scope(1, "a")]).untraceable)


def test_what_is_gone_makes_its_scopes_untraceable_and_no_others(tmp_path: Path) -> None:
    audit = pipeline(tmp_path)
    write(tmp_path / "source" / "stays.log", many(range(5), window=1) + many(range(5), window=2))
    write(tmp_path / "source" / "goes.log", many(range(5, 9), window=2))
    ledger = scanned(audit)
    (tmp_path / "source" / "goes.log").unlink()
    traced = trace(audit, "source", "lake", ledger, [scope(1, "a"), scope(2, "a")])
    assert set(found(traced)) == set(many(range(5), window=1))
    assert set(traced.untraceable) == {scope(2, "a")}
    assert "goes.log" in traced.untraceable[scope(2, "a")]


def test_a_file_that_holds_something_else_now_is_untraceable(tmp_path: Path) -> None:
    audit = pipeline(tmp_path)
    path = write(tmp_path / "lake" / "a.log", many(range(50)))
    ledger = scanned(audit)
    path.write_text(path.read_text().replace("host-1", "host-2"))
    assert set(trace(audit, "source", "lake", ledger, [scope(0, "a")]).untraceable) == {
        scope(0, "a")
    }
    path.write_text(path.read_text().splitlines()[0])
    assert trace(audit, "source", "lake", ledger, [scope(0, "a")]).untraceable


def test_a_file_renamed_or_compressed_since_is_found(tmp_path: Path) -> None:
    audit = pipeline(tmp_path)
    path = write(tmp_path / "source" / "app.log", many(range(500)))
    other = write(tmp_path / "source" / "other.log", many(range(500, 900)))
    ledger = scanned(audit)
    expected = found(trace(audit, "source", "lake", ledger, [scope(0, "a")]))
    path.rename(path.with_name("app.log.1"))
    with gzip.open(other.with_name("other.log.1.gz"), "wb") as packed:
        packed.write(other.read_bytes())
    times = other.stat()
    os.utime(other.with_name("other.log.1.gz"), ns=(times.st_atime_ns, times.st_mtime_ns))
    other.unlink()
    write(path, many(range(7), window=9))
    moved = trace(audit, "source", "lake", ledger, [scope(0, "a")])
    assert (found(moved), moved.untraceable) == (expected, {})
    later = scanned(audit, ledger)
    assert found(trace(audit, "source", "lake", later, [scope(0, "a")])) == expected


def test_a_file_that_grew_is_read_as_far_as_it_was(tmp_path: Path) -> None:
    audit = pipeline(tmp_path)
    path = write(tmp_path / "source" / "app.log", many(range(500)))
    ledger = scanned(audit)
    write(path, many(range(500, 600)))
    assert len(found(trace(audit, "source", "lake", ledger, [scope(0, "a")]))) == 500
    later = scanned(audit, ledger)
    assert len(found(trace(audit, "source", "lake", later, [scope(0, "a")]))) == 600


def test_a_stage_that_cannot_be_looked_at_is_untraceable(tmp_path: Path) -> None:
    audit = pipeline(tmp_path)
    write(tmp_path / "source" / "a.log", many(range(5)))
    ledger = scanned(audit)
    (tmp_path / "source" / "a.log").unlink()
    (tmp_path / "source").rmdir()
    assert list(trace(audit, "source", "lake", ledger, [scope(0, "a")]).untraceable)


def test_nothing_is_left_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = pipeline(tmp_path)
    write(tmp_path / "source" / "a.log", many(range(5)))
    ledger = scanned(audit)
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert found(trace(audit, "source", "lake", ledger, [scope(0, "a")]))
    assert list(folder.iterdir()) == []
    with pytest.raises(ZeroDivisionError):
        trace(audit, "source", "lake", ledger, raising())  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []


def raising() -> Iterable[tuple[int, str]]:
    yield scope(0, "a")
    raise ZeroDivisionError


def test_a_temporary_folder_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = pipeline(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StoreError, match="TMPDIR"):
        trace(audit, "source", "lake", [], [scope(0, "a")])


def test_copies_tell_where_each_record_is(tmp_path: Path) -> None:
    audit = pipeline(tmp_path)
    path = write(tmp_path / "source" / "a.log", many(range(5)))
    write(tmp_path / "lake" / "b.log", [*many(range(5)), *many([3])])
    (copy,) = many([3])
    told = copies(
        audit, ["source", "lake"], scanned(audit), [scope(0, "a")], asked((0, "a", copy[3]))
    )
    rows = told.rows.to_pylist()
    assert [(row["stage"], Path(row["path"]).name) for row in rows] == [
        ("source", "a.log"),
        ("lake", "b.log"),
        ("lake", "b.log"),
    ]
    assert path.read_bytes()[rows[0]["position"] :].startswith(b'{"fid": "%08x"' % copy[3])
    assert {row["origin"] for row in rows} == {copy[2]}


def test_one_stage_alone_counts_as_the_reference(tmp_path: Path) -> None:
    audit = pipeline(tmp_path)
    write(tmp_path / "source" / "a.log", many([1, 1]))
    (copy,) = many([1])
    traced = trace(
        audit, "source", "source", scanned(audit), [scope(0, "a")], asked((0, "a", copy[3]))
    )
    assert found(traced) == {copy: (2, 0)}


def test_parquet_is_traced_too(tmp_path: Path) -> None:
    audit = pipeline(tmp_path, format="parquet")
    numbers = np.arange(1000)
    table = pa.table(
        {
            "fid": pa.array(numbers, pa.uint32()),
            "ts": pa.array(START + numbers, pa.timestamp("us", "UTC")),
            "stream": ["a"] * 1000,
            "origin": ["h"] * 1000,
        }
    )
    pq.write_table(table, tmp_path / "source" / "0.parquet", row_group_size=300)
    pq.write_table(table.slice(100), tmp_path / "lake" / "0.parquet")
    traced = trace(audit, "source", "lake", scanned(audit), [scope(0, "a")])
    assert found(traced) == {(0, "a", "h", id): (1, 0) for id in range(100)}


@pytest.mark.servers
def test_a_topic_is_traced_until_retention_trims_it(
    tmp_path: Path, kafka: Broker, make_topic: MakeTopic
) -> None:
    audit, topic = pipeline(tmp_path), make_topic(partitions=2)
    queue = Stage(name="lake", kind="kafka", after="source", brokers=kafka.address, topics=(topic,))
    audit = audit.model_copy(update={"stages": (audit.source, queue)})
    write(tmp_path / "source" / "a.log", many(range(1000)))
    sender = producer(kafka.address)
    lines = (tmp_path / "source" / "a.log").read_bytes().splitlines()
    for at, line in enumerate(lines[100:] + lines[500:503]):
        sender.produce(topic, value=line, partition=at % 2)
    assert sender.flush(30) == 0
    ledger = scanned(audit)
    traced = trace(audit, "source", "lake", ledger, [scope(0, "a")])
    assert found(traced) == {
        **dict.fromkeys(many(range(100)), (1, 0)),
        **dict.fromkeys(many(range(500, 503)), (1, 2)),
    }
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for future in admin.delete_records([TopicPartition(topic, 1, 5)]).values():
        future.result(30)
    trimmed = trace(audit, "source", "lake", ledger, [scope(0, "a")])
    assert (found(trimmed), set(trimmed.untraceable)) == ({}, {scope(0, "a")})


def test_a_broker_that_is_down_makes_scopes_untraceable(tmp_path: Path) -> None:
    audit = pipeline(tmp_path)
    write(tmp_path / "source" / "a.log", many(range(10)))
    queue = Stage(
        name="lake",
        kind="kafka",
        after="source",
        brokers="127.0.0.1:1",
        topics=("t",),
        options={"socket.connection.setup.timeout.ms": "1000"},
    )
    ledger = scanned(audit)
    audit = audit.model_copy(update={"stages": (audit.source, queue)})
    unit = Unit("lake", "t/0@x:0", "kafka", "t", 0, 10, partition=0, version="x")
    tally = Tally(records=10, bytes=1, first_event=START, last_event=START + 5)
    ledger.append(LedgerRow(unit, "read", "s", NOW, "spec", tally))
    traced = trace(audit, "source", "lake", ledger, [scope(0, "a"), scope(5, "a")])
    assert set(traced.untraceable) == {scope(0, "a")}
