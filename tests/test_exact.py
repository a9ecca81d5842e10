"""The whole way, from files to report: it equals the plain-Python multiset model, to the record."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fidelity.audit import audit
from fidelity.config import load
from fidelity.identity import ids_of, producer_seed
from fidelity.report.json import render
from tests.model import WINDOW, Books, Record, books, differences, multiset, scopes

pytestmark = pytest.mark.usefixtures("engine")

START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
AS_OF = START + 86_400_000_000
PIPELINE = """
pipeline: exact
store: ./store
record: {format: json, id: fid, time: ts, stream: type, origin: host}
stages:
  hosts: {kind: files, path: "hosts/*.jsonl"}
  relay: {kind: files, after: hosts, path: "relay/*.jsonl"}
  lake:  {kind: files, after: relay, path: "lake/*.parquet", record: {format: parquet}}
"""


def _iso(microseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat()


def _line(r: Record) -> str:
    return json.dumps(
        {"ts": _iso(r.time), "type": r.stream, "host": r.origin, "fid": f"{r.id:08x}"}
    )


def _split(random: Random, records: list[Record], pieces: int) -> list[list[Record]]:
    cuts = sorted(random.randrange(len(records) + 1) for _ in range(pieces - 1))
    return [records[a:b] for a, b in zip([0, *cuts], [*cuts, len(records)], strict=True)]


def write_lines(folder: Path, pieces: list[list[Record]]) -> None:
    """Write a stage of JSON lines, one file a piece."""
    folder.mkdir(parents=True)
    for number, piece in enumerate(pieces):
        lines = [_line(record) for record in piece]
        (folder / f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def write_parquet(folder: Path, pieces: list[list[Record]]) -> None:
    """Write a stage of Parquet files, one file a piece, several row groups each."""
    folder.mkdir(parents=True)
    for number, piece in enumerate(pieces):
        table = pa.table(
            {
                "fid": pa.array([r.id for r in piece], pa.uint32()),
                "ts": pa.array([r.time for r in piece], pa.timestamp("us", "UTC")),
                "type": pa.array([r.stream for r in piece], pa.string()),
                "host": pa.array([r.origin for r in piece], pa.string()),
            }
        )
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=97)


def produced(random: Random, producers: int, each: int, windows: int) -> list[Record]:
    """What the producers made: contiguous sequences, event times nearly in order."""
    records = []
    for number in range(producers):
        stream, origin = f"s{number % 3}", f"h{number // 2}"
        count = random.randrange(each + 1)
        first = random.getrandbits(32)
        sequences = pa.array([(first + n) % 2**32 for n in range(count)], pa.uint32()).to_numpy()
        for n, identity in enumerate(ids_of(sequences, producer_seed(stream, origin)).tolist()):
            jitter = random.randrange(2_000_000)
            time = START + n * windows * WINDOW // max(count, 1) + jitter
            records.append(Record(stream, origin, identity, time))
    random.shuffle(records)
    return records


def passed_on(random: Random, records: list[Record], harm: float, strangers: int) -> list[Record]:
    """What arrived of the records at the next stage: some lost, some doubled, some strangers."""
    arrived = []
    for record in records:
        luck = random.random()
        copies = 0 if luck < harm else random.randrange(2, 4) if luck < 1.5 * harm else 1
        arrived += [record] * copies
    for _ in range(strangers if records else 0):
        arrived.append(random.choice(records)._replace(id=random.getrandbits(32)))
    random.shuffle(arrived)
    return arrived


def expected_books(reference: Counter[Any], here: Counter[Any]) -> dict[tuple[int, str], Books]:
    """The model's books of every scope that either side has."""
    left, right = scopes(reference), scopes(here)
    keys = left.keys() | right.keys()
    return {key: books(left.get(key, Counter()), right.get(key, Counter())) for key in keys}


def told_books(document: dict[str, Any], stage: str, against: str) -> dict[tuple[int, str], Books]:
    """The report's books of every scope that is not empty on both sides."""
    told = {}
    for row in document["balances"]:
        if (row["stage"], row["against"]) == (stage, against) and row["expected"] + row["observed"]:
            window = int(datetime.fromisoformat(row["window"]).timestamp()) * 1_000_000
            told[window, row["stream"]] = Books(*(row[name] for name in Books._fields))
            assert row["observed"] == told[window, row["stream"]].observed
            assert not row["in_flight"] + row["filtered"] + row["unaudited"]
    return told


def told_differences(document: dict[str, Any], stage: str, against: str) -> Counter[Any]:
    """The report's differences in the model's terms."""
    told: Counter[Any] = Counter()
    for row in document["differences"]:
        if (row["stage"], row["against"]) == (stage, against):
            window = int(datetime.fromisoformat(row["window"]).timestamp()) * 1_000_000
            key = (window, row["stream"], row["origin"], int(row["id"], 16))
            told[key, row["kind"]] += row["copies"]
    return told


def audited(folder: Path, pieces: dict[str, list[list[Record]]]) -> dict[str, Any]:
    """Write the stages, audit them, return the JSON report."""
    for stage, split in pieces.items():
        (write_parquet if stage == "lake" else write_lines)(folder / stage, split)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    answer = audit(load(folder / "pipeline.yaml"), as_of=AS_OF)
    assert not answer.errors
    document: dict[str, Any] = json.loads(render(answer.report))
    return document


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    producers=st.integers(1, 6),
    each=st.integers(0, 900),
    windows=st.integers(1, 4),
    harm=st.sampled_from([0.0, 0.002, 0.02, 0.3, 1.0]),
    strangers=st.sampled_from([0, 0, 1, 20]),
)
@example(seed=1, producers=6, each=900, windows=3, harm=0.0, strangers=0)
@example(seed=2, producers=6, each=900, windows=3, harm=1.0, strangers=0)
@example(seed=3, producers=1, each=900, windows=1, harm=0.01, strangers=3)
def test_books_and_differences_equal_the_multiset_model(
    seed: int, producers: int, each: int, windows: int, harm: float, strangers: int
) -> None:
    random = Random(seed)
    hosts = produced(random, producers, each, windows)
    relay = passed_on(random, hosts, harm, strangers)
    lake = passed_on(random, relay, harm, strangers)
    stages = {"hosts": hosts, "relay": relay, "lake": lake}
    pieces = {name: _split(random, there, random.randrange(1, 5)) for name, there in stages.items()}
    with TemporaryDirectory() as folder:
        document = audited(Path(folder), pieces)
    sets = {name: multiset(there) for name, there in stages.items()}
    for stage, against, reference in [
        ("relay", "source", "hosts"),
        ("relay", "hosts", "hosts"),
        ("lake", "source", "hosts"),
        ("lake", "relay", "relay"),
    ]:
        here = sets[stage]
        assert told_books(document, stage, against) == expected_books(sets[reference], here)
        assert told_differences(document, stage, against) == differences(sets[reference], here)
    harmless = sets["hosts"] == sets["relay"] == sets["lake"]
    assert (document["verdict"] == "fail") == (not harmless)
