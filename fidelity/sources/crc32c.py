"""CRC-32C of bytes by address, callable from other kernels: Kafka's checksum over a record batch.

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

from fidelity.sources.memory import byte, word

_POLYNOMIAL = 0x82F63B78
_ONES = np.uint64(0xFFFFFFFF)


def _tables() -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    tables = np.zeros((8, 256), np.uint64)
    for first in range(256):
        value = first
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        tables[0, first] = value
    for first in range(256):
        for k in range(1, 8):
            before = int(tables[k - 1, first])
            tables[k, first] = (before >> 8) ^ int(tables[0, before & 0xFF])
    return tables


_TABLES = _tables()


def _crc_word(_typing: Any, _crc: Any, _word: Any) -> Any:
    """The SSE 4.2 instruction over eight bytes."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        function: Any = cgutils.get_or_insert_function
        name = "llvm.x86.sse42.crc32.64.64"
        declared = function(builder.module, ir.FunctionType(word, [word, word]), name)
        return builder.call(declared, arguments)

    return types.uint64(types.uint64, types.uint64), generate


_crc: Any = intrinsic(_crc_word)


@njit(cache=True)
def _crc_tail(at, end, crc):  # type: ignore[no-untyped-def]
    while at < end:
        crc = _TABLES[0, (crc ^ byte(at)) & np.uint64(0xFF)] ^ (crc >> np.uint64(8))
        at += 1
    return crc


@njit(cache=True, nogil=True)
def crc32c_by_instruction(at, end):  # type: ignore[no-untyped-def]
    """CRC-32C of the bytes at the addresses [at, end), which the caller has checked."""
    crc = _ONES
    while at + 8 <= end:
        crc = _crc(crc, word(at))
        at += 8
    return _crc_tail(at, end, crc) ^ _ONES


@njit(cache=True, nogil=True)
def crc32c_by_table(at, end):  # type: ignore[no-untyped-def]
    """CRC-32C of the bytes at the addresses [at, end), which the caller has checked."""
    crc = _ONES
    low = np.uint64(0xFF)
    while at + 8 <= end:
        mixed = np.uint64(0)
        for k in range(8):  # by byte, so that the machine's byte order does not matter
            one = byte(at + k)
            if k < 4:
                one ^= (crc >> np.uint64(8 * k)) & low
            mixed ^= _TABLES[7 - k, one]
        crc = mixed
        at += 8
    return _crc_tail(at, end, crc) ^ _ONES


def _has_instruction() -> bool:
    features = llvmlite.binding.get_host_cpu_features()
    return platform.machine() in ("x86_64", "AMD64") and bool(features.get("sse4.2"))


crc32c = crc32c_by_instruction if _has_instruction() else crc32c_by_table
