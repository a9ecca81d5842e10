"""Compressed text: told by its first bytes, never by its name; a cut-off end is an error.

gzip with several members, zstd with several frames, and plain bytes look the same from here.
"""

import pyarrow as pa

HEAD = 1024
"""First bytes, after decompression, that a text file is known by."""

CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SKIPPABLE_ZSTD = b"\x2a\x4d\x18"  # after a byte 0x50 to 0x5f
_FOREIGN = {
    b"\xfd7zXZ\x00": "is compressed with xz, which is not read: use gzip or zstd",
    b"\x04\x22\x4d\x18": "is compressed with lz4, which is not read: use gzip or zstd",
    b"PK\x03\x04": "is a zip archive, which is not read: use gzip or zstd",
    b"PAR1": "is a Parquet file, not lines of text: say `format: parquet` under `record:`",
    b"Obj\x01": "is an Avro file, which is not read",
    b"ORC": "is an ORC file, which is not read",
}


def codec_of(magic: bytes) -> str:
    """How a file that begins so (6 bytes are enough) is compressed: "", "gzip" or "zstd".

    Raises:
        OSError: the file is no text and holds none that can be read.
    """
    for start, codec in CODECS.items():
        if magic.startswith(start):
            return codec
    if magic[1:4] == _SKIPPABLE_ZSTD and 0x50 <= magic[0] <= 0x5F:
        return "zstd"
    if magic.startswith(b"BZh") and magic[4:6] == b"1A":
        raise OSError(None, "is compressed with bzip2, which is not read: use gzip or zstd")
    for start, what in _FOREIGN.items():
        if magic.startswith(start):
            raise OSError(None, what)
    return ""


def text_of(raw: pa.NativeFile, codec: str, size: int) -> pa.NativeFile:
    """The bytes of the file's first `size` bytes after decompression, from their beginning."""
    stored = raw.get_stream(0, size)
    return pa.CompressedInputStream(stored, codec) if codec else stored


def head_of(raw: pa.NativeFile, codec: str, size: int, limit: int = HEAD) -> bytes:
    """The first `limit` bytes after decompression; fewer if a compressed file breaks off.

    Raises:
        OSError: the file cannot be read, or breaks off before its first byte.
    """
    stream, head = text_of(raw, codec, size), b""
    while len(head) < limit:
        try:
            # Small steps: a stream that breaks off gives nothing of the step it fails in.
            more = stream.read(min(limit - len(head), 64 if codec else limit))
        except OSError:
            if head:
                break
            raise
        if not more:
            break
        head += more
    return head


def skip(stream: pa.NativeFile, count: int) -> int:
    """Pass over `count` bytes of a stream; returns how many there were."""
    step, passed = bytearray(min(count, 1 << 20)), 0
    while passed < count:
        got = stream.readinto(memoryview(step)[: count - passed])
        if not got:
            break
        passed += got
    return passed
