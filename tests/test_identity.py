"""The 4-byte id: equal to XXH32, and turned back into its sequence number."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from fidelity import identity
from fidelity.errors import UsageError

DOCS = Path(__file__).parent.parent / "docs"
U32 = st.integers(0, 2**32 - 1)


@given(st.lists(U32, min_size=1, max_size=50), U32)
def test_ids_are_xxh32_of_the_little_endian_sequence(sequences: list[int], seed: int) -> None:
    expected = [xxhash.xxh32_intdigest(s.to_bytes(4, "little"), seed) for s in sequences]
    assert identity.ids_of(np.array(sequences, np.uint32), seed).tolist() == expected
    assert [identity.id_of(s, seed) for s in sequences] == expected


@given(st.lists(st.tuples(U32, U32), min_size=1, max_size=50))
def test_the_inverse_gives_back_the_sequence_for_one_seed_and_for_many(
    pairs: list[tuple[int, int]],
) -> None:
    sequences = np.array([s for s, _ in pairs], np.uint32)
    seeds = np.array([seed for _, seed in pairs], np.uint32)
    ids = identity.ids_of(sequences, seeds)
    assert ids.dtype == np.uint32
    assert identity.sequences_of(ids, seeds).tolist() == sequences.tolist()
    one = identity.ids_of(sequences, int(seeds[0]))
    assert identity.sequences_of(one, int(seeds[0])).tolist() == sequences.tolist()


@given(U32, U32)
def test_every_id_has_a_sequence(fid: int, seed: int) -> None:
    sequence = identity.sequences_of([fid], seed)
    assert identity.ids_of(sequence, seed).tolist() == [fid]


def test_a_million_consecutive_records_have_a_million_ids_across_the_wrap() -> None:
    sequences = np.arange(2**32 - 500_000, 2**32 + 500_000, dtype=np.int64)
    ids = identity.ids_of(sequences, identity.producer_seed("app", "host1"))
    assert len(np.unique(ids)) == 1_000_000


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_the_digest_of_a_run_is_that_of_its_ids(first: int, records: int, seed: int) -> None:
    ids = identity.ids_of(np.arange(first, first + records), seed)
    expected = int(ids.sum(dtype=np.uint64)), int(np.bitwise_xor.reduce(ids))
    assert identity.run_digest(first, first + records - 1, seed) == expected


def test_integers_outside_32_bits_wrap() -> None:
    seed = 0xFFFFFFFF
    assert identity.ids_of([2**32, -1], seed).tolist() == [
        identity.id_of(0, seed),
        identity.id_of(2**32 - 1, seed),
    ]


def test_scalar_functions_work_inside_another_kernel() -> None:
    @njit
    def there_and_back(value: int, seed: int) -> int:
        return identity.u32_of_xxh32(identity.xxh32_of_u32(value, seed), seed)

    for value in (0, 1, 12345, 2**31, 2**32 - 1):
        assert there_and_back(value, 2**32 - 1) == value
        assert there_and_back(np.uint32(value), np.uint32(7)) == value


@given(st.binary(max_size=200), U32, st.integers(0, 5))
def test_the_kernel_hashes_any_slice_as_xxhash_does(data: bytes, seed: int, skip: int) -> None:
    buffer = np.frombuffer(b"x" * skip + data + b"tail", np.uint8)
    digest = identity.xxh32_bytes(buffer, skip, skip + len(data), np.uint32(seed))
    assert int(digest) == xxhash.xxh32_intdigest(data, seed)


def test_the_seed_hashes_stream_separator_origin() -> None:
    expected = xxhash.xxh32_intdigest("größe\x1fhost-1".encode())
    assert identity.producer_seed("größe", "host-1") == expected
    assert identity.producer_seed("größe".encode(), b"host-1") == expected
    assert identity.producer_seed("a", "bc") != identity.producer_seed("ab", "c")


def test_a_name_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(UsageError):
        identity.producer_seed("\ud800", "host")


@pytest.mark.parametrize("name", ["", "a\x1fb", "line\nbreak", "\ud800"])
def test_a_producer_may_not_use_an_empty_or_control_name(name: str) -> None:
    with pytest.raises(UsageError):
        identity.check_name(name, "stream")


@given(U32)
def test_hex_and_bytes_go_there_and_back(fid: int) -> None:
    assert identity.id_of_hex(identity.hex_of(fid)) == fid
    assert identity.id_of_hex(identity.hex_of(fid).upper()) == fid
    assert identity.id_of_bytes(identity.bytes_of(fid)) == fid


@pytest.mark.parametrize("text", ["", "1234567", "123456789", "0x123456", "1234 678", "1234_678"])
def test_what_is_not_eight_hex_digits_is_no_id(text: str) -> None:
    assert identity.id_of_hex(text) is None


def test_what_is_not_four_bytes_is_no_id() -> None:
    assert identity.id_of_bytes(b"") is None
    assert identity.id_of_bytes(b"12345") is None


def test_content_id_is_plain_xxh32() -> None:
    assert identity.content_id(b"") == 0x02CC5D05
    assert identity.content_id(b"abc") == xxhash.xxh32_intdigest(b"abc")


VECTORS = json.loads((DOCS / "id-test-vectors.json").read_text(encoding="utf-8"))


def test_vectors_cover_the_hard_cases() -> None:
    names = [(p["stream"], p["origin"]) for p in VECTORS["producers"]]
    assert any(origin == "" for _, origin in names)
    assert any(not stream.isascii() and not origin.isascii() for stream, origin in names)
    assert {0, 2**32 - 1} <= {sequence for sequence, _ in VECTORS["producers"][0]["ids"]}
    assert all(run["first"] + run["count"] > 2**32 for run in VECTORS["runs"])


@pytest.mark.parametrize("producer", VECTORS["producers"], ids=lambda p: repr(p["stream"]))
def test_producers_of_the_vectors_are_xxhash_and_ours(producer: dict[str, Any]) -> None:
    hashed = producer["stream"].encode() + b"\x1f" + producer["origin"].encode()
    assert producer["hashed"] == hashed.hex()
    assert producer["seed"] == xxhash.xxh32_intdigest(hashed)
    assert producer["seed"] == identity.producer_seed(producer["stream"], producer["origin"])
    for sequence, fid in producer["ids"]:
        raw = sequence.to_bytes(4, "little")
        assert fid == xxhash.xxh32_hexdigest(raw, producer["seed"])
        assert fid == identity.hex_of(identity.id_of(sequence, producer["seed"]))
        assert identity.sequences_of([int(fid, 16)], producer["seed"]).tolist() == [sequence]


@pytest.mark.parametrize("run", VECTORS["runs"], ids=lambda r: repr(r["stream"]))
def test_runs_of_the_vectors_wrap(run: dict[str, Any]) -> None:
    seed = identity.producer_seed(run["stream"], run["origin"])
    ids = identity.ids_of(np.arange(run["count"]) + run["first"], seed)
    assert [identity.hex_of(fid) for fid in ids.tolist()] == run["ids"]


def test_encodings_and_contents_of_the_vectors_hold() -> None:
    for row in VECTORS["encodings"]:
        assert identity.hex_of(row["integer"]) == row["id"]
        assert identity.bytes_of(row["integer"]).hex() == row["header_hex"]
        assert row["text_suffix"] == f" fid={row['id']}"
        assert row["json_member"] == f'"fid":"{row["id"]}"'
    for row in VECTORS["content"]:
        assert identity.hex_of(identity.content_id(bytes.fromhex(row["payload_hex"]))) == row["id"]


@pytest.mark.parametrize(
    "command",
    [("java", "producers/Fid.java"), ("go", "run", "producers/fid.go")],
    ids=["java", "go"],
)
def test_other_languages_in_the_docs_agree_with_the_vectors(command: tuple[str, ...]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    rows = [(p, s, fid) for p in VECTORS["producers"] for s, fid in p["ids"]]
    asked = "".join(f"{p['stream']}\t{p['origin']}\t{s}\n" for p, s, _ in rows)
    ran = subprocess.run(command, cwd=DOCS, input=asked.encode(), capture_output=True, check=True)
    assert ran.stdout.decode().split() == [fid for _, _, fid in rows]
