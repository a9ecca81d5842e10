"""Kafka's compression codecs, each straight into an array that is used again and again."""

import struct
from collections.abc import Callable

import cramjam
import numpy as np
from numpy.typing import NDArray

_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER = 16  # magic, version, compatible version
_FULL = "failed to write whole buffer"  # what cramjam says when the output is too small


class CodecError(Exception):
    """The bytes are not what their codec promises."""


class OutputFull(Exception):  # noqa: N818 -- not a failure: the caller makes room and tries again
    """There are more bytes than the output has room for."""


def decompress(codec: int, source: memoryview, output: NDArray[np.uint8]) -> int:
    """Decompress one batch's records into `output`; the number of bytes.

    Raises:
        OutputFull: try again with a larger output.
        CodecError: broken data, or a codec that Kafka does not have.
    """
    if codec not in _CODECS:
        raise CodecError(f"unknown codec {codec}")
    try:
        return _CODECS[codec](source, output.data)
    except cramjam.DecompressionError as error:
        if _FULL in str(error):
            raise OutputFull from None
        raise CodecError(f"broken {NAMES[codec]} data ({error})") from None


def _gzip(source: memoryview, output: memoryview) -> int:
    return int(cramjam.gzip.decompress_into(source, output))


def _lz4(source: memoryview, output: memoryview) -> int:
    return int(cramjam.lz4.decompress_into(source, output))


def _zstd(source: memoryview, output: memoryview) -> int:
    return int(cramjam.zstd.decompress_into(source, output))


def _snappy(source: memoryview, output: memoryview) -> int:
    """Raw snappy, or the blocks that Java's library writes (each after its length, big-endian)."""
    if bytes(source[:8]) != _XERIAL:
        return _snappy_block(source, output)
    at, used = _XERIAL_HEADER, 0
    while at < len(source):
        if bytes(source[at : at + 8]) == _XERIAL:  # streams may be written one after the other
            at += _XERIAL_HEADER
            continue
        if at + 4 > len(source):
            raise CodecError("broken snappy data (a block's length is cut off)")
        (size,) = struct.unpack_from(">i", source, at)
        at += 4
        if size < 0 or size > len(source) - at:
            raise CodecError("broken snappy data (a block is cut off)")
        used += _snappy_block(source[at : at + size], output[used:])
        at += size
    return used


def _snappy_block(block: memoryview, output: memoryview) -> int:
    if cramjam.snappy.decompress_raw_len(block) > len(output):
        raise OutputFull
    return int(cramjam.snappy.decompress_raw_into(block, output))


NAMES = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
_CODECS: dict[int, Callable[[memoryview, memoryview], int]] = {
    1: _gzip,
    2: _snappy,
    3: _lz4,
    4: _zstd,
}
