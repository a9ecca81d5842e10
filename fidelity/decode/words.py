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

_QUOTE, _BACKSLASH, _SPACE, _TAB, _EQUALS = 0x22, 0x5C, 0x20, 0x09, 0x3D
_BYTES: Any = types.CPointer(types.uint8)  # type: ignore[no-untyped-call]
_intrinsic: Any = intrinsic  # its callers pass one argument less than its typing sees

Number = Any
"""An integer in a kernel: numba infers its width and wraps as machines do; mypy cannot know."""


def address(array: NDArray[np.uint8] | NDArray[np.int64]) -> int:
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
    """The byte at an address: int64, 0 to 255."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.zext(_load(builder, arguments[0], ir.IntType(8)), ir.IntType(64))

    return types.int64(types.int64), generate


def _lanes(builder: Any, place: Any, count: int) -> tuple[Any, Any]:
    """Bytes at an address as a vector, and what makes a vector of one byte so many times."""
    kind = ir.VectorType(ir.IntType(8), count)
    return _load(builder, place, kind), lambda value: ir.Constant(kind, [value] * count)


def _bits(builder: Any, lanes: Any, count: int) -> Any:
    """A vector of truths as the low bits of a word."""
    packed = builder.bitcast(lanes, ir.IntType(count))
    return packed if count == 64 else builder.zext(packed, ir.IntType(64))


def _escape_or_control(builder: Any, loaded: Any, all_of: Any) -> Any:
    backslash = builder.icmp_unsigned("==", loaded, all_of(_BACKSLASH))
    # Signed: bytes from 0x80 are negative, so one comparison finds both kinds.
    return builder.or_(backslash, builder.icmp_signed("<", loaded, all_of(_SPACE)))


@_intrinsic
def stops(_typing: Any, _place: Any) -> Any:
    """Which of the 16 bytes at an address end a run of plain string bytes: a bit each, uint64.

    A quote, a backslash, a control character or a byte that is not ASCII.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        loaded, all_of = _lanes(builder, arguments[0], 16)
        quote = builder.icmp_unsigned("==", loaded, all_of(_QUOTE))
        other = _escape_or_control(builder, loaded, all_of)
        return _bits(builder, builder.or_(quote, other), 16)

    return types.uint64(types.int64), generate


@_intrinsic
def quotes(_typing: Any, _place: Any) -> Any:
    """Which of the 64 bytes at an address are quotes: a bit each, uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        loaded, all_of = _lanes(builder, arguments[0], 64)
        return _bits(builder, builder.icmp_unsigned("==", loaded, all_of(_QUOTE)), 64)

    return types.uint64(types.int64), generate


@_intrinsic
def escapes(_typing: Any, _place: Any) -> Any:
    """Which of the 64 bytes at an address are backslashes, control characters or not ASCII."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        loaded, all_of = _lanes(builder, arguments[0], 64)
        return _bits(builder, _escape_or_control(builder, loaded, all_of), 64)

    return types.uint64(types.int64), generate


@_intrinsic
def oddities(_typing: Any, _place: Any) -> Any:
    """Which of the 64 bytes at an address are NUL or not ASCII: a bit each, uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        loaded, all_of = _lanes(builder, arguments[0], 64)
        return _bits(builder, builder.icmp_signed("<=", loaded, all_of(0)), 64)

    return types.uint64(types.int64), generate


@_intrinsic
def equals_signs(_typing: Any, _place: Any) -> Any:
    """Which of the 64 bytes at an address are `=`: a bit each, uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        loaded, all_of = _lanes(builder, arguments[0], 64)
        return _bits(builder, builder.icmp_unsigned("==", loaded, all_of(_EQUALS)), 64)

    return types.uint64(types.int64), generate


@_intrinsic
def blanks_and_tabs(_typing: Any, _place: Any) -> Any:
    """Which of the 16 bytes at an address are blanks or tabs: a bit each, uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        loaded, all_of = _lanes(builder, arguments[0], 16)
        blank = builder.icmp_unsigned("==", loaded, all_of(_SPACE))
        tab = builder.icmp_unsigned("==", loaded, all_of(_TAB))
        return _bits(builder, builder.or_(blank, tab), 16)

    return types.uint64(types.int64), generate


@_intrinsic
def bytes_at(_typing: Any, _place: Any) -> Any:
    """An address as a pointer to bytes, for numba.carray."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return _BYTES(types.int64), generate


def _cell(builder: Any, place: Any, index: Any) -> Any:
    shifted = builder.shl(index, ir.Constant(ir.IntType(64), 3))
    return builder.inttoptr(builder.add(place, shifted), ir.IntType(64).as_pointer())


@_intrinsic
def peek(_typing: Any, _place: Any, _index: Any) -> Any:
    """The int64 at an index of an array's address.

    Arrays that are handed from kernel to kernel cost a counted reference each; addresses do not.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_cell(builder, *arguments))

    return types.int64(types.int64, types.int64), generate


@_intrinsic
def poke(_typing: Any, _place: Any, _index: Any, _value: Any) -> Any:
    """Writes an int64 at an index of an array's address."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _cell(builder, *arguments[:2]))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), generate


@_intrinsic
def put_byte(_typing: Any, _place: Any, _value: Any) -> Any:
    """Writes the lowest 8 bits of an int64 at an address."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        low = builder.trunc(arguments[1], ir.IntType(8))
        builder.store(low, builder.inttoptr(arguments[0], ir.IntType(8).as_pointer()))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), generate


@_intrinsic
def bit_count(_typing: Any, _bits: Any) -> Any:
    """How many bits are set: int64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


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
