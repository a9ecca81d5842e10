"""Manifest lines become the records that they claim."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fidelity import units
from fidelity.decode.names import Names
from fidelity.errors import UnreadableError
from fidelity.identity import id_of, ids_of, producer_seed
from fidelity.records import PADDING, Lines, Records, Slices
from fidelity.sources.manifests import CHUNK, manifest_records
from fidelity.stamp import Stamper

MINUTE = 60_000_000
START = 1_783_000_020_000_000 // (10 * MINUTE) * 10 * MINUTE
TEN = 10 * MINUTE


def iso(time: int) -> str:
    return str(np.datetime64(time, "us")) + "Z"


def line(**changes: Any) -> dict[str, Any]:
    return {
        "manifest": 1,
        "stream": "app",
        "origin": "host1",
        "start": iso(START),
        "end": iso(START + MINUTE),
        "runs": [[0, 1]],
        "bytes": 100,
    } | changes


def lines(*texts: dict[str, Any] | bytes, arrival: int = START + MINUTE) -> Lines:
    raw = [t if isinstance(t, bytes) else json.dumps(t).encode() for t in texts]
    sizes = np.array([len(t) for t in raw], np.int64)
    ends = np.cumsum(sizes + 1) - 1
    buffer = np.frombuffer(b"\n".join(raw) + b"\0" * PADDING, np.uint8)
    slices = Slices(ends - sizes, ends)
    return Lines(buffer, slices, slices.starts, np.full(len(raw), arrival), sizes)


def records(*texts: dict[str, Any] | bytes) -> list[Records]:
    return list(manifest_records(lines(*texts), Names(), TEN))


def flaws(batch: Records) -> list[str]:
    return [units.FLAWS[flaw - 1] if flaw else "" for flaw in batch.flaw.tolist()]


RUNS = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 40)), max_size=6)
CLAIMS = st.lists(
    st.tuples(st.sampled_from(["app", "größe"]), st.sampled_from(["h1", "h2"]), RUNS), max_size=6
)


@given(CLAIMS, st.integers(0, 5000))
def test_a_line_yields_the_ids_it_claims_and_its_bytes(
    claims: list[tuple[str, str, list[tuple[int, int]]]], size: int
) -> None:
    names = Names()
    texts = [line(stream=s, origin=o, runs=runs, bytes=size) for s, o, runs in claims]
    batches = list(manifest_records(lines(*texts), names, TEN)) if texts else []
    seen = [
        (names.text(stream), names.text(origin), fid)
        for batch in batches
        for stream, origin, fid in zip(
            batch.stream.tolist(), batch.origin.tolist(), batch.id.tolist(), strict=True
        )
    ]
    expected = [
        (s, o, id_of(first + k, producer_seed(s, o)))
        for s, o, runs in claims
        for first, count in runs
        for k in range(count)
    ]
    assert seen == expected
    claiming = sum(any(count for _, count in runs) for _, _, runs in claims)
    assert sum(int(batch.size.sum()) for batch in batches) == size * claiming
    assert all((batch.time == START).all() and not batch.flaw.any() for batch in batches)


def test_the_first_record_takes_the_bytes_that_do_not_divide() -> None:
    (batch,) = records(line(runs=[[5, 2], [9, 1]], bytes=11))
    assert batch.size.tolist() == [5, 3, 3]


def test_a_run_goes_on_at_zero_after_the_last_number() -> None:
    (batch,) = records(line(runs=[[2**32 - 2, 4]]))
    seed = producer_seed("app", "host1")
    assert batch.id.tolist() == [id_of(s, seed) for s in (2**32 - 2, 2**32 - 1, 0, 1)]


def test_a_huge_claim_comes_in_bounded_chunks() -> None:
    total, seen = 10**9, 0
    seed = producer_seed("app", "host1")
    for batch in manifest_records(lines(line(runs=[[7, total]], bytes=total + 3)), Names(), TEN):
        assert len(batch) <= CHUNK
        assert batch.id[0] == id_of(7 + seen, seed)
        assert batch.size[0] == (4 if seen == 0 else 1)
        seen += len(batch)
        if seen > 3 * CHUNK:
            return
    raise AssertionError("the claim ended early")


def test_chunks_add_up_to_the_whole_claim() -> None:
    runs = [[0, CHUNK - 1], [CHUNK + 10, 5], [10**6, CHUNK]]
    batches = records(line(runs=runs, bytes=10 * CHUNK + 7), line(origin="host2"))
    ids = np.concatenate([batch.id for batch in batches])
    sequences = np.concatenate([np.arange(f, f + c) for f, c in runs])
    assert np.array_equal(ids[:-1], ids_of(sequences, producer_seed("app", "host1")))
    assert ids[-1] == id_of(0, producer_seed("app", "host2"))
    assert sum(int(b.size.sum()) for b in batches) == 10 * CHUNK + 7 + 100


BAD = {
    "half a line": (b'{"manifest":1,"stream":"app","ori', "malformed"),
    "no JSON": (b"hello", "malformed"),
    "an array": (b"[1]", "malformed"),
    "broken UTF-8": (b'{"manifest":1,"stream":"\xff"}', "malformed"),
    "NaN": (b'{"manifest":1,"bytes":NaN}', "malformed"),
    "too deep": (b'{"a":' * 100_000, "malformed"),
    "a log record": (b'{"ts":"2026-07-01T00:00:00Z","fid":"00000000"}', "malformed"),
    "a negative count": (line(runs=[[0, -1]]), "malformed"),
    "a sequence beyond 32 bits": (line(runs=[[2**32, 1]]), "malformed"),
    "a fractional sequence": (line(runs=[[1.5, 1]]), "malformed"),
    "a boolean": (line(runs=[[True, 1]]), "malformed"),
    "a run of three": (line(runs=[[1, 2, 3]]), "malformed"),
    "runs as text": (line(runs="0-5"), "malformed"),
    "negative bytes": (line(bytes=-1), "malformed"),
    "half a surrogate": (line(stream="\ud800"), "malformed"),
    "no start": (line(start=None), "untimed"),
    "no time at all": (line(end="yesterday"), "untimed"),
    "an end before its start": (line(end=iso(START - MINUTE)), "untimed"),
    "no stream": (line(stream=None), "unattributed"),
    "an empty origin": (line(origin=""), "unattributed"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_line_that_is_not_understood_is_one_flaw_with_its_position(case: str) -> None:
    bad, flaw = BAD[case]
    (batch,) = records(line(), bad, line(runs=[[1, 2]]))
    assert flaws(batch) == ["", flaw, "", ""]
    given_lines = lines(line(), bad, line())
    assert batch.position[1] == given_lines.positions[1]
    assert batch.size[1] == given_lines.sizes[1]


def test_null_and_over_long_kafka_values_are_flaws() -> None:
    batch = lines(line(), line())
    batch.values.starts[:] = [-1, -2]
    batch.values.ends[:] = [-1, -2]
    (seen,) = manifest_records(batch, Names(), TEN)
    assert flaws(seen) == ["unstamped", "malformed"]


def test_a_window_in_the_future_still_counts_and_says_so() -> None:
    late = lines(line(runs=[[0, 2]]), arrival=START - 25 * 60 * MINUTE)
    (batch,) = manifest_records(late, Names(), TEN)
    assert flaws(batch) == ["future", "future"]
    assert batch.id.tolist() == ids_of([0, 1], producer_seed("app", "host1")).tolist()


@pytest.mark.parametrize("minutes", [(-1, 1), (9, 11), (0, 11)])
def test_a_window_across_two_of_the_pipeline_s_is_refused(minutes: tuple[int, int]) -> None:
    start, end = (iso(START + m * MINUTE) for m in minutes)
    with pytest.raises(UnreadableError, match="does not lie inside one window") as error:
        records(line(), line(start=start, end=end))
    assert "600 s" in error.value.what
    assert "multiple" in error.value.action


def test_a_window_equal_to_the_pipeline_s_fits() -> None:
    (batch,) = records(line(end=iso(START + TEN)))
    assert flaws(batch) == [""]


def test_times_may_have_offsets() -> None:
    (batch,) = records(line(start="2026-07-01T14:00:00+02:00", end="2026-07-01T12:01:00"))
    assert batch.time.tolist() == [int(np.datetime64("2026-07-01T12:00:00", "us").astype(int))]


def test_a_newer_version_is_not_guessed_at() -> None:
    with pytest.raises(UnreadableError, match="version 2"):
        records(line(manifest=2))


def test_unknown_members_are_left_alone() -> None:
    (batch,) = records(line(note="hello"))
    assert flaws(batch) == [""]


def test_what_a_stamper_counted_comes_back_as_its_ids(tmp_path: Path) -> None:
    written: dict[int, set[int]] = {}
    with Stamper("größe", "h", manifest=tmp_path / "m") as stamper:
        for minute in (0, 1, 1, 3, 0):
            ids = stamper.take(50)
            stamper.written(ids, START + minute * MINUTE + 5, 70)
            written.setdefault(START + minute * MINUTE, set()).update(ids.tolist())
            stamper.flush()
    names = Names()
    batch = lines(*(tmp_path / "m").read_bytes().splitlines())
    seen: dict[int, set[int]] = {}
    for found in manifest_records(batch, names, TEN):
        assert {names.text(code) for code in found.stream.tolist()} == {"größe"}
        assert (found.size == 70).all()
        for time, fid in zip(found.time.tolist(), found.id.tolist(), strict=True):
            seen.setdefault(time, set()).add(fid)
    assert seen == written
