"""Kafka's Metadata request up to version 10, the first that tells topic ids; aiokafka ends at 5."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v4, MetadataRequest_v5
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_NO_ID = bytes(16)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    """16 bytes as they are."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _Response10(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("topic_authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _Request10(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Response10
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


_Versions = MetadataRequest_v4 | MetadataRequest_v5 | _Request10


class TopicsRequest(Request[_Versions]):  # type: ignore[misc]
    """Metadata of the named topics, None for all. Never makes a topic.

    Versions before 4 are left out since they would.
    """

    API_KEY = 3

    def __init__(self, topics: Sequence[str] | None) -> None:
        self._topics = topics

    def build(self, request_struct_class: Any) -> Any:
        """The request in the version that was agreed on."""
        if request_struct_class is not _Request10:
            return request_struct_class(self._topics, False)
        topics: list[tuple[bytes, str, dict[int, bytes]]] | None = None
        if self._topics is not None:
            topics = [(_NO_ID, name, {}) for name in self._topics]
        return request_struct_class(topics, False, False, False, {})


def topics_of(answer: Any) -> Iterator[tuple[int, str, str, dict[int, tuple[int, int]]]]:
    """Each topic of an answer: error code, name, id ("" if none), and its partitions.

    A partition is told as its error code and its leader, -1 if it has none.
    """
    for code, name, *more in answer.topics:
        identity = more[0] if answer.API_VERSION >= 10 else _NO_ID
        partitions = more[2] if answer.API_VERSION >= 10 else more[1]
        leaders = {partition: (error, leader) for error, partition, leader, *_ in partitions}
        yield code, name, "" if identity == _NO_ID else identity.hex(), leaders
