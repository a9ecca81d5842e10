"""A mirror copies the local topic to the aggregate cluster, as MirrorMaker does.

One fault: for one stretch its batches are larger than the aggregate topic takes. The broker
refuses them, for real; the mirror carries on, as mirrors with `abort.on.send.failure=false` do.
"""

from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from .truth import Truth

LARGEST_BATCH = 262_144  # bytes, `max.message.bytes` of the aggregate topic
LARGE_FROM, LARGE_TO = 30_000, 33_000  # offsets of the local topic's partition that go in one batch
_TUNED = {"batch.size": 100_000, "linger.ms": 5}
_UNTUNED = {"batch.size": 1_000_000, "linger.ms": 1_000, "message.max.bytes": 1_500_000}


def mirror(
    local: str, source: str, aggregate: str, target: str, truth: Truth
) -> Iterator[tuple[int, int]]:
    """Copy all that `source` holds now. Yields (partition, records read) as each is done."""
    for partition, (low, high) in sorted(held(local, source).items()):
        is_large = low + LARGE_TO <= high and partition == _widest(local, source)
        tuned, untuned = _producer(aggregate, _TUNED), _producer(aggregate, _UNTUNED)
        for message in read_range(local, source, partition, low, high):
            large = is_large and LARGE_FROM <= message.offset() - low < LARGE_TO
            _send(untuned if large else tuned, target, message, truth)
        untuned.flush()
        tuned.flush()
        yield partition, high - low


def _producer(brokers: str, settings: dict[str, int]) -> Producer:
    common = {"bootstrap.servers": brokers, "queue.buffering.max.messages": 1_000_000}
    return Producer(common | settings)


def _send(producer: Producer, target: str, message: Any, truth: Truth) -> None:
    def refused(error: KafkaError | None, failed: Any) -> None:
        if error is not None:
            truth.tell("lost", "batch refused for its size", [failed.value()])

    producer.produce(
        target,
        message.value(),
        key=message.key(),
        partition=message.partition(),
        timestamp=message.timestamp()[1],
        on_delivery=refused,
    )
    producer.poll(0)


def held(brokers: str, topic: str) -> dict[int, tuple[int, int]]:
    """The offsets [first, end) that each partition of a topic holds."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "look"})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    found = {
        number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
        for number in partitions
    }
    consumer.close()
    return found


def _widest(brokers: str, topic: str) -> int:
    ranges = held(brokers, topic)
    return max(ranges, key=lambda number: ranges[number][1] - ranges[number][0])


def read_range(brokers: str, topic: str, partition: int, low: int, high: int) -> Iterator[Any]:
    """All messages of one partition's offsets [low, high), in order."""
    consumer = Consumer(
        {"bootstrap.servers": brokers, "group.id": "read", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, partition, low)])
    left = high - low
    while left:
        for message in consumer.consume(min(left, 10_000), timeout=10):
            left -= 1
            yield message
    consumer.close()
