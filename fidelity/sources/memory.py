"""Bytes by address, for kernels: plain integers cost nothing to pass on.

An array that is handed from one kernel to another is counted, by an atomic instruction each time:
in a loop over varints that took fifteen times as long as reading them. Nothing is checked here.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray


def address(array: NDArray[np.uint8]) -> int:
    """Where an array's first byte lies. Valid as long as the array is."""
    place: int = array.__array_interface__["data"][0]
    return place


def _load(builder: Any, place: Any, bits: int) -> Any:
    loaded = builder.load(builder.inttoptr(place, ir.IntType(bits).as_pointer()))
    loaded.align = 1
    return loaded


def _byte(_typing: Any, _place: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.zext(_load(builder, arguments[0], 8), ir.IntType(64))

    return types.uint64(types.int64), generate


def _word(_typing: Any, _place: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _load(builder, arguments[0], 64)

    return types.uint64(types.int64), generate


byte: Any = intrinsic(_byte)
"""The byte at an address: uint64."""

word: Any = intrinsic(_word)
"""The 8 bytes at an address, in the machine's order: uint64."""
