"""CRC-32C of a range of bytes, callable from other kernels: Kafka's checksum over a record batch.

On x86 with SSE 4.2 the processor's own instruction, eight bytes at a time (7 GB/s); elsewhere
eight tables (about 1 GB/s).
"""

import platform
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_POLYNOMIAL = 0x82F63B78
_ONES = np.uint64(0xFFFFFFFF)


def _tables() -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    tables = np.zeros((8, 256), np.uint64)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        tables[0, byte] = value
    for byte in range(256):
        for k in range(1, 8):
            before = int(tables[k - 1, byte])
            tables[k, byte] = (before >> 8) ^ int(tables[0, before & 0xFF])
    return tables


_TABLES = _tables()


def _load64(_typing: Any, buffer: Any, _at: Any) -> Any:
    """Eight bytes of a uint8 buffer from `at` on, aligned or not, as the machine orders them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        word = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(buffer, types.int64), generate


def _crc_word(_typing: Any, _crc: Any, _word: Any) -> Any:
    """The SSE 4.2 instruction over eight bytes."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        function: Any = cgutils.get_or_insert_function
        name = "llvm.x86.sse42.crc32.64.64"
        declared = function(builder.module, ir.FunctionType(word, [word, word]), name)
        return builder.call(declared, arguments)

    return types.uint64(types.uint64, types.uint64), generate


_load: Any = intrinsic(_load64)
_crc: Any = intrinsic(_crc_word)


@njit(cache=True, inline="never")
def _crc_tail(buffer, start, end, crc):  # type: ignore[no-untyped-def]
    for i in range(start, end):
        crc = _TABLES[0, (crc ^ np.uint64(buffer[i])) & np.uint64(0xFF)] ^ (crc >> np.uint64(8))
    return crc


@njit(cache=True, nogil=True)
def crc32c_by_instruction(buffer, start, end):  # type: ignore[no-untyped-def]
    """CRC-32C of buffer[start:end]; the caller has checked the range."""
    crc = _ONES
    whole = start + (end - start) // 8 * 8
    for at in range(start, whole, 8):
        crc = _crc(crc, _load(buffer, at))
    return _crc_tail(buffer, whole, end, crc) ^ _ONES


@njit(cache=True, nogil=True)
def crc32c_by_table(buffer, start, end):  # type: ignore[no-untyped-def]
    """CRC-32C of buffer[start:end]; the caller has checked the range."""
    crc = _ONES
    whole = start + (end - start) // 8 * 8
    low = np.uint64(0xFF)
    for at in range(start, whole, 8):
        mixed = np.uint64(0)
        for k in range(8):  # by byte, so that the machine's byte order does not matter
            byte = np.uint64(buffer[at + k])
            if k < 4:
                byte ^= (crc >> np.uint64(8 * k)) & low
            mixed ^= _TABLES[7 - k, byte]
        crc = mixed
    return _crc_tail(buffer, whole, end, crc) ^ _ONES


def _has_instruction() -> bool:
    features = llvmlite.binding.get_host_cpu_features()
    return platform.machine() in ("x86_64", "AMD64") and bool(features.get("sse4.2"))


crc32c = crc32c_by_instruction if _has_instruction() else crc32c_by_table
