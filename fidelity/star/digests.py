"""Digests of rows: what tells whether a window's figures are those that were published before.

Law: equal multisets of rows have equal digests, whatever their order. They depend on nothing but
the values: no engine's hash, no address, no library's layout.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_NULL = np.uint64(0x9E3779B97F4A7C15)


def key(text: str) -> int:
    """A whole number from 0 to 2^63 - 1 that stands for a text."""
    return int(xxhash.xxh3_64_intdigest(text.encode())) >> 1


def of_rows(table: pa.Table, seed: str) -> Words:
    """A word for each row; seed: the table's name, so that equal rows of two tables differ."""
    words = np.full(len(table), np.uint64(xxhash.xxh3_64_intdigest(seed.encode())))
    for name in table.column_names:
        words = _mixed(words * np.uint64(31) + _of_values(table[name].combine_chunks()))
    return words


def of_groups(groups: NDArray[np.int64], words: Words) -> dict[int, int]:
    """For each group the sum of its rows' words, as a signed 64-bit number."""
    if not len(groups):
        return {}
    order = np.argsort(groups, kind="stable")
    names, starts = np.unique(groups[order], return_index=True)
    sums = np.add.reduceat(words[order], starts).view(np.int64)
    return dict(zip(names.tolist(), sums.tolist(), strict=True))


def _of_values(values: pa.Array) -> Words:
    if pa.types.is_struct(values.type):
        return of_rows(pa.Table.from_arrays(values.flatten(), values.type.names), "struct")
    valid = np.asarray(pc.is_valid(values))
    if pa.types.is_list(values.type):
        return _of_lists(values)
    if pa.types.is_string(values.type):
        held = values.dictionary_encode()
        words = np.array(
            [
                xxhash.xxh3_64_intdigest((text or "").encode())
                for text in held.dictionary.to_pylist()
            ]
            or [0],
            np.uint64,
        )
        found = words[np.asarray(held.indices.fill_null(0))]
    elif pa.types.is_floating(values.type):
        found = np.asarray(values.fill_null(0.0)).view(np.uint64)
    else:
        found = np.asarray(values.cast(pa.int64()).fill_null(0)).view(np.uint64)
    return np.where(valid, _mixed(found), _NULL)


def _of_lists(values: pa.Array) -> Words:
    """An empty list and a null one count as the same; so do the orders of their elements."""
    words = np.zeros(len(values), np.uint64)
    lengths = np.asarray(values.value_lengths().fill_null(0))
    np.add.at(words, np.repeat(np.arange(len(values)), lengths), _of_values(values.flatten()))
    return words


def _mixed(words: Words) -> Words:
    """The finalizer of MurmurHash3: each bit of a word moves half the bits of its image."""
    words = (words ^ (words >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    words = (words ^ (words >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return words ^ (words >> np.uint64(33))
