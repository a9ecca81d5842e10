"""Scanning a real topic: the same books as files, and nothing twice when the broker dies."""

from pathlib import Path

import pytest
from confluent_kafka import Producer
from scans import LATER, append, in_force, lines, opened, pipeline
from servers import create_topic

from examples.brokers import Broker
from fidelity.config import Pipeline, RecordSpec, Stage
from fidelity.scan import scan
from fidelity.units import LOOKED

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("engine")]
ORIGINS = ("h1", "h2", "h3")
PARTITIONS = 3


def made_of(folder: Path, broker: Broker, topic: str) -> Pipeline:
    """Files, then a topic with the same lines; small fetches, and little patience."""
    made = pipeline(folder)
    stage = Stage(
        name="topic",
        kind="kafka",
        after="source",
        brokers=broker.address,
        topics=(topic,),
        record=RecordSpec(format="json"),
        options={"fetch.max.bytes": "20000", "default.api.timeout.ms": "2000"},
    )
    return made.model_copy(update={"stages": (*made.stages, stage)})


def publish(folder: Path, broker: Broker, topic: str, first: int, count: int) -> None:
    """The same records to the files and to the topic, each origin in its own partition."""
    producer = Producer({"bootstrap.servers": broker.address, "compression.type": "lz4"})
    for partition, origin in enumerate(ORIGINS):
        content = lines(origin, first, count)
        append(folder / "source" / f"{origin}.jsonl", content)
        for line in content.splitlines():
            producer.produce(topic, line, partition=partition)
    assert producer.flush(30) == 0


def books(made: Pipeline, stage: str) -> list[object]:
    """What counts at a stage; sizes and arrivals differ between a file and a topic."""
    found: list[object] = []
    for row in in_force(opened(made)):
        if row["stage"] == stage:
            origins: object = row["origins"]
            assert isinstance(origins, list)
            sums = [(part["origin"], part["records"], part["id_sum"]) for part in origins]
            found.append((row["window"], row["records"], sums, row["cells"]))
    return found


def test_a_topic_and_files_with_the_same_records_have_the_same_books(
    tmp_path: Path, kafka: Broker
) -> None:
    topic = create_topic(kafka, PARTITIONS)
    made = made_of(tmp_path, kafka, topic)
    for first in (0, 400):
        publish(tmp_path, kafka, topic, first, 400)
        result = scan(made, opened(made), as_of=LATER)
        assert [stage.records for stage in result.stages] == [1200, 1200]
    assert books(made, "topic") == books(made, "source")
    # All partitions' observations are kept as one, so there are as many rows as scopes.
    rows = opened(made).observations().to_table()["stage"].to_pylist()
    assert rows.count("topic") == rows.count("source") == 2 + 2


def test_a_broker_that_dies_half_way_loses_and_doubles_nothing(
    tmp_path: Path, own_kafka: Broker
) -> None:
    topic = create_topic(own_kafka, PARTITIONS)
    made = made_of(tmp_path, own_kafka, topic)
    publish(tmp_path, own_kafka, topic, 0, 3000)

    def kill_at_the_first_word(stage: str, done: int, planned: int) -> None:
        if stage == "topic" and planned and not done:
            own_kafka.kill()

    store = opened(made)
    result = scan(made, store, as_of=LATER, progress=kill_at_the_first_word)
    assert [stage.error is None for stage in result.stages] == [True, False]
    assert result.stages[0].records == 9000
    looked = [row.status for row in store.ledger("topic") if row.unit.key == LOOKED]
    assert looked == ["unreadable"]
    own_kafka.launch().wait()
    result = scan(made, store, as_of=LATER)
    assert result.errors == ()
    assert books(made, "topic") == books(made, "source")
    assert sum(row.tally.records for row in store.ledger("topic")) == 9000
