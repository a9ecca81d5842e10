"""What a topic holds, as plain tuples: read by Fidelity, and by librdkafka to compare."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from fidelity.config import Stage
from fidelity.records import Lines, Slices
from fidelity.sources import kafka as source
from fidelity.sources.kafka_client import LATEST, cluster
from fidelity.sources.planning import Wanted
from fidelity.units import LedgerRow, Tally, Unit


class Record(NamedTuple):
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]
    timestamp: int  # microseconds


def stage_of(address: str, *topics: str, name: str = "topic", **options: str) -> Stage:
    """A stage; options with _ for the dots."""
    dotted = {key.replace("_", "."): value for key, value in options.items()}
    return Stage(name=name, kind="kafka", brokers=address, topics=topics, options=dotted)


def planned(stage: Stage, ledger: Iterable[LedgerRow] = ()) -> list[Unit]:
    return source.plan(stage, list(ledger), now=time.time_ns() // 1000, settle=60_000_000).units


def read_unit(unit: Unit, stage: Stage, headers: Iterable[str] = ()) -> list[Record]:
    """The unit's records as the bulk reader gives them. It must reach the unit's end."""
    reader = source.read(unit, stage, Wanted(headers=list(headers), key=True))
    found = [record for lines in reader for record in records_of(lines, unit.partition)]
    assert reader.end == unit.end
    return found


def read_bulk(stage: Stage, headers: Iterable[str] = ()) -> list[Record]:
    headers = list(headers)
    return [one for unit in planned(stage) for one in read_unit(unit, stage, headers)]


def records_of(lines: Lines, partition: int = 0) -> list[Record]:
    raw = lines.buffer.tobytes()
    assert lines.keys is not None
    found = []
    for i in range(len(lines)):
        key, value = _slice(raw, lines.keys, i), _slice(raw, lines.values, i)
        assert lines.sizes[i] == len(key or b"") + len(value or b"")
        headers = {name: _slice(raw, slices, i) for name, slices in lines.headers.items()}
        found.append(
            Record(
                partition,
                int(lines.positions[i]),
                key,
                value,
                headers,
                int(lines.arrivals[i]),
            )
        )
    return found


def _slice(raw: bytes, slices: Slices, i: int) -> bytes | None:
    start, end = int(slices.starts[i]), int(slices.ends[i])
    assert (start == -1 and end == -1) or 0 <= start <= end <= len(raw) - 64
    return None if start < 0 else raw[start:end]


def read_by_librdkafka(
    address: str, topic: str, partitions: int = 1, headers: Iterable[str] = ()
) -> list[Record]:
    """All committed records, by partition and offset; of the headers only the named ones."""
    wanted = list(headers)
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "compare",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.message.max.bytes": 64 << 20,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    found, open_partitions, deadline = [], set(range(partitions)), time.monotonic() + 60
    while open_partitions and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is not None:
            assert message.error().code() == KafkaError._PARTITION_EOF
            open_partitions.discard(message.partition())
            continue
        held = dict(message.headers() or [])
        found.append(
            Record(
                message.partition(),
                message.offset(),
                message.key(),
                message.value(),
                {name: held.get(name) for name in wanted},
                message.timestamp()[1] * 1000,
            )
        )
    consumer.close()
    assert not open_partitions
    return sorted(found, key=lambda record: record[:2])


def producer(address: str, **options: object) -> Producer:
    dotted = {key.replace("_", "."): value for key, value in options.items()}
    return Producer({"bootstrap.servers": address, "linger.ms": 20, **dotted})


def fill(address: str, topic: str, count: int, size: int = 100, **options: object) -> None:
    """count records `<n>:xxxx` of that size, spread by librdkafka, flushed."""
    sender = producer(address, **options)
    for n in range(count):
        sender.produce(topic, value=f"{n}:".encode().ljust(size, b"x"))
        sender.poll(0)
    assert sender.flush(30) == 0


def as_read(unit: Unit, lines: list[Record], commit: int = 0) -> LedgerRow:
    """The ledger row that a scan would write."""
    stamps = [record.timestamp for record in lines]
    tally = Tally(
        records=len(lines),
        bytes=sum(len(record.key or b"") + len(record.value or b"") for record in lines),
        first_arrival=min(stamps, default=-1),
        last_arrival=max(stamps, default=-1),
    )
    return LedgerRow(unit, "read", "scan", 0, "spec", tally=tally, commit=commit)


def until_decided(address: str, topic: str) -> None:
    """Wait until every transaction's end is in the log: brokers write it after they answered."""
    client = cluster(address, {}, "until_decided")
    topics = [client.topics([topic])[topic]]
    until(
        lambda: client.offsets(topics, LATEST, committed=True) == client.offsets(topics, LATEST),
        "the ends of all transactions",
    )


def until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait for a server to do what it does in its own time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.05)
