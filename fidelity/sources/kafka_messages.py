"""Messages through aiokafka's own parser and builder: old formats, and a sample to warm up with."""

import struct
import zlib
from collections.abc import Iterator

import cramjam
from aiokafka import errors as kafka_errors
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from fidelity.errors import UnreadableError

_BROKEN_MESSAGE = (
    kafka_errors.KafkaError,
    cramjam.DecompressionError,
    ValueError,
    IndexError,
    AssertionError,
    EOFError,
    OSError,
    struct.error,
    zlib.error,
)


def legacy_records(
    batch: bytes, check: bool, where: str
) -> Iterator[tuple[int, int, bytes | None, bytes | None]]:
    """(offset, time in ms or -1, key, value) of the records of a v0 or v1 message.

    Raises UnreadableError for a broken message.
    """
    try:
        message = MemoryRecords(batch).next_batch()
        if message is None or (check and not message.validate_crc()):
            raise ValueError
        for record in message:
            time_ms = -1 if record.timestamp is None else record.timestamp
            yield record.offset, time_ms, record.key, record.value
    except _BROKEN_MESSAGE:
        raise UnreadableError(
            "A message of Kafka's old format is broken.",
            where=where,
            action="Check the brokers' disks; a replica may still hold it. Then scan again.",
        ) from None


def sample_batch(*, compressed: bool) -> bytes:
    """A record batch with one record that has a key, a value and a header."""
    builder = DefaultRecordBatchBuilder(2, 3 if compressed else 0, 0, -1, -1, -1, 1 << 16)
    builder.append(0, 0, b"key", b"value", [("fid", b"\0\0\0\1")])
    return bytes(builder.build())
