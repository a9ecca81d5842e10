"""The laws of the sketch."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fidelity import sketch

any_id = st.integers(0, 2**32 - 1)
# Ids that share most of their bits meet in the same cells, and pass for one another's means.
near_id = st.builds(
    lambda low, high: (high << 21 | low) % 2**32, st.integers(0, 3), st.integers(0, 2**11 - 1)
)
edge_id = st.sampled_from([0, 1, 2**16 - 1, 2**16, 2**31, 2**32 - 1])
multisets = st.dictionaries(any_id | near_id | edge_id, st.integers(1, 5), max_size=40)


def of(ids: dict[int, int]) -> sketch.Cells:
    cells = sketch.empty()
    sketch.add(cells, np.array(list(ids), np.uint32), np.array(list(ids.values()), np.int64))
    return cells


def odd_xor(ids: dict[int, int]) -> int:
    total = 0
    for id, count in ids.items():
        total ^= id if count % 2 else 0
    return total


def difference(a: dict[int, int], b: dict[int, int]) -> dict[int, int]:
    signed = Counter(a)
    signed.subtract(b)
    return {id: count for id, count in signed.items() if count}


def as_dict(decoded: tuple[NDArray[np.uint32], NDArray[np.int64]]) -> dict[int, int]:
    return dict(zip(decoded[0].tolist(), decoded[1].tolist(), strict=True))


def random_ids(seed: int, n: int) -> NDArray[np.uint32]:
    return np.random.default_rng(seed).integers(0, 2**32, n, dtype=np.uint32)


@given(multisets, multisets, multisets)
def test_adding_commutes_and_associates(
    a: dict[int, int], b: dict[int, int], c: dict[int, int]
) -> None:
    at_once = of(dict(Counter(a) + Counter(b) + Counter(c)))
    assert np.array_equal(at_once, (of(a) + of(b)) + of(c))
    assert np.array_equal(at_once, of(c) + (of(b) + of(a)))


@given(multisets)
def test_a_sketch_less_itself_is_empty(a: dict[int, int]) -> None:
    left = sketch.subtract(of(a), of(a))
    assert not left.any()
    assert as_dict(sketch.decode(left, 0) or pytest.fail("empty must decode")) == {}


@settings(max_examples=400)
@given(multisets, multisets)
def test_decoding_gives_the_exact_signed_difference_or_none(
    a: dict[int, int], b: dict[int, int]
) -> None:
    truth = difference(a, b)
    decoded = sketch.decode(sketch.subtract(of(a), of(b)), odd_xor(truth))
    assert decoded is None or as_dict(decoded) == truth


@settings(max_examples=300)
@given(st.dictionaries(any_id, st.integers(-(2**31), 2**31).filter(bool), max_size=3))
def test_an_id_may_differ_by_any_count_up_to_two_to_the_31(truth: dict[int, int]) -> None:
    decoded = sketch.decode(of(truth))
    if decoded is not None:
        assert as_dict(decoded) == truth
    elif len(truth) < 2:
        pytest.fail("a single id always decodes")


@given(any_id, st.integers(-(2**62), 2**62).filter(bool))
def test_a_single_id_decodes_or_is_beyond_the_stated_count(id: int, count: int) -> None:
    decoded = sketch.decode(of({id: count}))
    assert decoded is None if abs(count) > 2**31 else decoded is not None
    assert decoded is None or as_dict(decoded) == {id: count}


@pytest.mark.parametrize("copies", [1, 2, 4])
@given(a=any_id, step=st.integers(1, 2**10 - 1))
def test_ids_that_share_all_cells_are_not_taken_for_their_mean(
    copies: int, a: int, step: int
) -> None:
    b = (a + (step << 22)) % 2**32
    assert sketch.decode(of({a: copies, b: copies})) is None
    assert sketch.decode(of({a: copies, b: -copies})) is None


@given(any_id, st.integers(1, 255))
def test_two_ids_with_equal_lower_halves_decode_when_a_band_parts_them(a: int, step: int) -> None:
    b = a ^ ((step & 31 or 1) << 16)  # apart in the third band only
    assert as_dict(sketch.decode(of({a: 1, b: 1})) or pytest.fail("must decode")) == {a: 1, b: 1}


@pytest.mark.parametrize("junk", range(8))
def test_cells_that_no_multiset_explains_are_undecodable(junk: int) -> None:
    cells = np.random.default_rng(junk).integers(0, 2**64, (3, 128, 3), dtype=np.uint64)
    assert sketch.decode(cells) is None
    small = np.random.default_rng(junk).integers(-1, 2, (3, 128, 3)).astype(np.uint64)
    assert sketch.decode(small) is None
    lowest = sketch.empty()
    lowest[0, 0] = 2**64 - 1, 2**63, 0
    assert sketch.decode(lowest) is None


@pytest.mark.parametrize(("differences", "at_least"), [(100, 0.98), (200, 0.97), (250, 0.95)])
def test_about_250_differences_decode(differences: int, at_least: float) -> None:
    trials, decoded = 200, 0
    for seed in range(trials):
        ids = np.unique(random_ids(seed, differences))
        counts = np.where(np.arange(len(ids)) % 3 == 0, -1, 1).astype(np.int64)
        cells = sketch.empty()
        sketch.add(cells, ids, counts)
        answer = sketch.decode(cells, int(np.bitwise_xor.reduce(ids)))
        if answer is not None:
            decoded += 1
            assert np.array_equal(answer[0], ids)
            assert np.array_equal(answer[1], counts)
    assert decoded >= at_least * trials


@pytest.mark.parametrize("differences", [400, 1_000, 100_000])
def test_far_too_many_differences_are_undecodable(differences: int) -> None:
    for seed in range(20):
        cells = sketch.empty()
        sketch.add(cells, random_ids(seed, differences))
        assert sketch.decode(cells) is None


def test_decoding_leaves_its_input_as_it_was() -> None:
    cells = of({5: 1, 6: 2})
    before = cells.copy()
    sketch.decode(cells)
    assert np.array_equal(cells, before)


@given(st.lists(multisets, max_size=4))
def test_sparse_cells_give_back_the_sketches(many: list[dict[int, int]]) -> None:
    stacked = np.stack([of(a) for a in many] or [sketch.empty()])
    offsets, *columns = sketch.sparse(stacked)
    for i, cells in enumerate(stacked):
        part = slice(offsets[i], offsets[i + 1])
        assert np.array_equal(sketch.dense(*(column[part] for column in columns)), cells)
    total = sketch.dense(*columns)
    assert np.array_equal(total, stacked.sum(axis=0, dtype=np.uint64))


@given(multisets, any_id)
def test_an_id_that_is_there_may_be_held(a: dict[int, int], other: int) -> None:
    cells = of(a)
    assert all(sketch.may_hold(cells, id) for id in a)
    assert not sketch.may_hold(sketch.empty(), other)
