"""What the bulk reader reads equals what another client, librdkafka, reads from the same broker."""

import dataclasses
import itertools
import random

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_records import (
    fill,
    planned,
    producer,
    read_bulk,
    read_by_librdkafka,
    read_unit,
    stage_of,
    until,
    until_decided,
)
from servers import MakeTopic

from examples.brokers import Broker
from fidelity.errors import UnreadableError
from fidelity.sources import kafka as source
from fidelity.sources import kafka_batches
from fidelity.sources.planning import Wanted

pytestmark = pytest.mark.servers

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
HEADERS = ("fid", "trace", "never-there", "")


def _produce_all_sorts(sender: Producer, topic: str, partitions: int, count: int) -> None:
    """Keys, values and headers: absent, empty, null, repeated, large, binary."""
    chance = random.Random(7)
    for n in range(count):
        value = chance.choice([b"", None, b"\x00\xff", chance.randbytes(30), b"text %d" % n * 40])
        headers: list[tuple[str, bytes | None]] = [("other", b"x"), ("fid", n.to_bytes(4))]
        headers += chance.choice([[], [("trace", None)], [("trace", b"a"), ("trace", b"")]])
        sender.produce(
            topic,
            key=chance.choice([None, b"", b"key %d" % n]),
            value=value,
            headers=chance.choice([[], headers, [*headers, ("", b"unnamed")]]),
            timestamp=1_700_000_000_000 + chance.randrange(-10_000, 10_000),
            partition=n % partitions,
        )
        sender.poll(0)
    assert sender.flush(30) == 0


@pytest.mark.parametrize("codec", CODECS)
def test_all_sorts_of_records_are_read_the_same(
    codec: str, kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=3)
    sender = producer(kafka.address, compression_type=codec)
    _produce_all_sorts(sender, topic, partitions=3, count=3000)
    expected = read_by_librdkafka(kafka.address, topic, 3, HEADERS)
    assert len(expected) == 3000
    assert read_bulk(stage_of(kafka.address, topic), HEADERS) == expected


def test_a_topic_that_the_broker_compresses_itself_is_read_the_same(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    for codec in ("gzip", "snappy", "lz4", "zstd"):  # Java's writers: other framing, other sizes
        topic = make_topic(compression_type=codec)
        fill(kafka.address, topic, 2000)
        expected = read_by_librdkafka(kafka.address, topic)
        assert read_bulk(stage_of(kafka.address, topic)) == expected


def test_many_small_batches_of_several_codecs_in_one_partition(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    for codec in (*CODECS, *CODECS):
        sender = producer(kafka.address, compression_type=codec, batch_num_messages=3)
        for n in range(200):
            sender.produce(topic, value=b"%d" % n * 20)
        assert sender.flush(30) == 0
    expected = read_by_librdkafka(kafka.address, topic)
    assert read_bulk(stage_of(kafka.address, topic)) == expected


def test_the_brokers_own_timestamps_are_taken_where_a_topic_says_so(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic(message_timestamp_type="LogAppendTime")
    sender = producer(kafka.address, compression_type="lz4")
    sender.produce(topic, value=b"x", timestamp=1_000)
    sender.flush(30)
    (record,) = read_bulk(stage_of(kafka.address, topic))
    assert [record] == read_by_librdkafka(kafka.address, topic)
    assert record.timestamp > 1_600_000_000_000_000


def test_aborted_transactions_and_markers_are_not_records(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic, chance = make_topic(partitions=2), random.Random(3)
    senders = [producer(kafka.address, transactional_id=f"{topic}-{n}") for n in range(3)]
    for sender in senders:
        sender.init_transactions(30)
    for round_ in range(12):
        for number, sender in enumerate(senders):  # their batches come to lie between each other
            sender.begin_transaction()
            for n in range(5):
                value = f"{round_} {number} {n}".encode()
                sender.produce(topic, value=value, partition=n % 2)
            sender.flush(30)
        for sender in chance.sample(senders, 3):
            chance.choice([sender.commit_transaction, sender.abort_transaction])(30)
    until_decided(kafka.address, topic)
    expected = read_by_librdkafka(kafka.address, topic, 2)
    assert 0 < len(expected) < 12 * 3 * 5
    assert read_bulk(stage_of(kafka.address, topic)) == expected
    small = stage_of(kafka.address, topic, fetch_max_bytes="1024")  # aborted lists by response
    assert read_bulk(small) == expected
    everything = stage_of(kafka.address, topic, isolation_level="read_uncommitted")
    assert len(read_bulk(everything)) == 12 * 3 * 5


def test_a_split_anywhere_between_transactions_reads_the_same(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    sender = producer(kafka.address, transactional_id=topic)
    sender.init_transactions(30)
    for round_ in range(8):
        sender.begin_transaction()
        for n in range(3):
            sender.produce(topic, value=b"%d %d" % (round_, n))
        (sender.abort_transaction if round_ % 2 else sender.commit_transaction)(30)
    until_decided(kafka.address, topic)
    stage = stage_of(kafka.address, topic)
    (unit,) = planned(stage)
    expected = read_by_librdkafka(kafka.address, topic)
    for cut in range(unit.start, unit.end + 1):
        left = dataclasses.replace(unit, end=cut)
        right = dataclasses.replace(unit, start=cut)
        assert read_unit(left, stage) + read_unit(right, stage) == expected


def test_an_open_transaction_is_left_for_a_later_scan(kafka: Broker, make_topic: MakeTopic) -> None:
    topic = make_topic()
    fill(kafka.address, topic, 10)
    sender = producer(kafka.address, transactional_id=topic)
    sender.init_transactions(30)
    sender.begin_transaction()
    sender.produce(topic, value=b"undecided")
    sender.flush(30)
    fill(kafka.address, topic, 5)
    stage = stage_of(kafka.address, topic)
    assert [unit.end for unit in planned(stage)] == [10]
    sender.commit_transaction(30)
    until_decided(kafka.address, topic)
    assert [record.value for record in read_bulk(stage)][10] == b"undecided"
    assert len(read_bulk(stage)) == 16


def test_a_compacted_topic_is_read_with_its_gaps(kafka: Broker, make_topic: MakeTopic) -> None:
    topic = make_topic(
        cleanup_policy="compact",
        min_cleanable_dirty_ratio="0.01",
        segment_bytes="1048576",
        max_compaction_lag_ms="100",
    )
    sender = producer(kafka.address, compression_type="lz4", batch_num_messages=7)
    for n in range(400):
        noise = random.Random(n).randbytes(10_000)  # three segments; the last is never compacted
        key = b"kept %d" % n if n % 25 == 0 else b"%d" % (n % 11)
        sender.produce(topic, key=key, value=noise)
    assert sender.flush(30) == 0
    stage = stage_of(kafka.address, topic)
    until(lambda: len(read_bulk(stage)) < 250, "compaction")
    (unit,) = planned(stage)
    assert (unit.start, unit.end) == (0, 400)
    records, expected, after = [], [], None
    while records != after:  # compaction goes on; compare what is read between two equal reads
        records = read_unit(unit, stage)
        expected = read_by_librdkafka(kafka.address, topic)
        after = read_unit(unit, stage)
    assert records == expected
    offsets = [record.offset for record in records]
    gap = next(a + 1 for a, b in itertools.pairwise(offsets) if b > a + 2)
    hollow = dataclasses.replace(unit, start=gap, end=gap + 1)
    assert read_unit(hollow, stage) == []  # and its end is reached all the same


def test_a_range_of_nothing_but_aborted_records_is_read_to_its_end(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    sender = producer(kafka.address, transactional_id=topic)
    sender.init_transactions(30)
    sender.begin_transaction()
    sender.produce(topic, value=b"never was")
    sender.abort_transaction(30)
    until_decided(kafka.address, topic)
    assert read_bulk(stage_of(kafka.address, topic)) == []


def test_an_empty_topic_has_no_units(kafka: Broker, make_topic: MakeTopic) -> None:
    assert planned(stage_of(kafka.address, make_topic(partitions=5))) == []


def test_a_batch_larger_than_a_fetch_is_read(kafka: Broker, make_topic: MakeTopic) -> None:
    topic = make_topic(max_message_bytes="33554432")
    sender = producer(kafka.address, message_max_bytes=32_000_000)
    large = random.Random(1).randbytes(15_000_000)
    for value in (b"before", large, b"after", large[:5_000_000]):
        sender.produce(topic, value=value)
        sender.flush(30)
    for limit in ("1024", "4194304"):
        records = read_bulk(stage_of(kafka.address, topic, fetch_max_bytes=limit))
        assert [record.value for record in records] == [
            b"before",
            large,
            b"after",
            large[:5_000_000],
        ]


def test_a_batch_that_expands_a_thousand_times_is_read(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic(max_message_bytes="33554432")
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        sender = producer(kafka.address, compression_type=codec, message_max_bytes=32_000_000)
        sender.produce(topic, value=bytes(25_000_000))
        assert sender.flush(30) == 0
    values = [record.value for record in read_bulk(stage_of(kafka.address, topic))]
    assert values == [bytes(25_000_000)] * 4


def test_batches_are_given_out_in_pieces_of_bounded_size(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    fill(kafka.address, topic, 60_000, size=300, compression_type="zstd")
    stage = stage_of(kafka.address, topic)
    (unit,) = planned(stage)
    sizes = [int(lines.sizes.sum()) for lines in source.read(unit, stage, Wanted())]
    assert sum(sizes) == 60_000 * 300
    assert max(sizes) < 2 * kafka_batches.BATCH_BYTES


def test_retention_that_overtakes_the_reader_makes_the_unit_unreadable(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    fill(kafka.address, topic, 100)
    stage = stage_of(kafka.address, topic)
    (unit,) = planned(stage)
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for future in admin.delete_records([TopicPartition(topic, 0, 40)]).values():
        future.result(30)
    with pytest.raises(UnreadableError, match="Retention removed offsets 0 to 40"):
        read_unit(unit, stage)
