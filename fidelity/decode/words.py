"""Bytes as machine words: the few loads that numba cannot express, by address.

Addresses are plain integers, so that one compiled kernel serves any buffer, read-only or not.
Nothing is checked here: a caller stays within the bytes that Lines promises (records.PADDING
readable bytes after the last slice).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

_QUOTE, _BACKSLASH, _SPACE = 0x22, 0x5C, 0x20
_intrinsic: Any = intrinsic  # its callers pass one argument less than its typing sees

Number = Any
"""An integer inside a kernel: numba infers its width, and wraps as machines do; mypy cannot know."""


def address(array: NDArray[np.uint8]) -> int:
    """Where an array's first byte lies. Valid as long as the array is."""
    place: int = array.__array_interface__["data"][0]
    return place


def _load(builder: Any, place: Any, kind: Any) -> Any:
    loaded = builder.load(builder.inttoptr(place, kind.as_pointer()))
    loaded.align = 1
    return loaded


@_intrinsic
def word(_typing: Any, _place: Any) -> Any:
    """The 8 bytes at an address, little-endian: uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _load(builder, arguments[0], ir.IntType(64))

    return types.uint64(types.int64), generate


@_intrinsic
def byte(_typing: Any, _place: Any) -> Any:
    """The byte at an address: uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.zext(_load(builder, arguments[0], ir.IntType(8)), ir.IntType(64))

    return types.uint64(types.int64), generate


@_intrinsic
def stops(_typing: Any, _place: Any) -> Any:
    """Which of the 16 bytes at an address end a run of plain string bytes: a bit each, uint64.

    A quote, a backslash, a control character or a byte that is not ASCII.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.IntType(8), 16)
        loaded = _load(builder, arguments[0], lanes)

        def all_of(value: int) -> Any:
            return ir.Constant(lanes, [value] * 16)

        quote = builder.icmp_unsigned("==", loaded, all_of(_QUOTE))
        backslash = builder.icmp_unsigned("==", loaded, all_of(_BACKSLASH))
        # Signed: bytes from 0x80 are negative, so one comparison finds both kinds.
        other = builder.icmp_signed("<", loaded, all_of(_SPACE))
        found = builder.or_(builder.or_(quote, backslash), other)
        return builder.zext(builder.bitcast(found, ir.IntType(16)), ir.IntType(64))

    return types.uint64(types.int64), generate


@_intrinsic
def lowest(_typing: Any, _bits: Any) -> Any:
    """The place of the lowest bit that is set, int64; 64 if none is."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@njit(cache=True, inline="always")
def first_bytes(loaded: Number, count: Number) -> Number:
    """The lowest `count` (1..8) bytes of a word, the others zero."""
    return np.uint64(loaded) & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * count))
