"""Brokers and topics that are dead, closed, missing, trimmed or full of rubbish, from the CLI."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from audits import SOURCE, Folder, lines
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_records import producer
from servers import USERS, MakeTopic, create_topic

from examples.brokers import Broker

pytestmark = pytest.mark.usefixtures("engine")

WHOLE = lines()
ALL = (60, 60, 0, 0, 0, 0)
QUICK = "default.api.timeout.ms: 1500"
SECRET = "a-wrong-secret"
SASL = "security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: alice"


def topic_stage(address: str, topic: str, options: str = QUICK) -> str:
    return (
        f'lake: {{kind: kafka, after: source, brokers: "{address}", topic: {topic},'
        f" options: {{{options}}}}}"
    )


def send(address: str, topic: str, values: Iterable[bytes | None], **headers: bytes) -> None:
    sender = producer(address)
    for value in values:
        sender.produce(topic, value=value, headers=list(headers.items()))
    assert sender.flush(30) == 0


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    folder.put("source/a", WHOLE)
    return folder


def refused(folder: Folder) -> str:
    """The source is still counted, the lake is unknown, and one paragraph says why."""
    found = folder.audit(2)
    assert found.verdict == "unknown"
    assert found.counts() == (60, 0, 0, 60, 0, 0)
    assert found.err.startswith("fidelity: stage lake: ")
    assert found.err.count("\n") == 1
    for secret in (SECRET, *USERS.values()):
        assert secret not in found.err + found.out
    assert all(
        SECRET.encode() not in path.read_bytes()
        for path in (folder.path / "store").rglob("*")
        if path.is_file()
    )
    return found.err


def test_a_dead_broker_is_told_and_the_other_stages_are_audited(folder: Folder) -> None:
    folder.configure(SOURCE, topic_stage("127.0.0.1:1", "logs"))
    assert "nothing listens on 127.0.0.1:1" in refused(folder)


@pytest.mark.servers
def test_a_missing_topic_and_wrong_credentials_are_told(
    folder: Folder, kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    folder.configure(SOURCE, topic_stage(kafka.address, f"{topic}s"))
    assert f"{topic}s" in refused(folder)
    options = f"{QUICK}, {SASL}, sasl.password: {SECRET}"
    folder.configure(SOURCE, topic_stage(kafka.sasl_address, topic, options))
    assert "sasl.password" in refused(folder)
    folder.configure(SOURCE, topic_stage(kafka.sasl_address, topic))
    assert "security.protocol" in refused(folder)
    options = f"{SASL}, sasl.password: {USERS['alice']}"
    send(kafka.address, topic, [each.strip() for each in WHOLE])
    folder.configure(SOURCE, topic_stage(kafka.sasl_address, topic, options))
    assert folder.audit(0).counts() == ALL


@pytest.mark.servers
def test_rubbish_in_a_topic_is_flawed_by_kind_and_the_rest_counts(
    folder: Folder, kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    rubbish = [b"\xff\xfe", b"{", b"[1]", b"\0" * 9, b"", None, b"{}", b"x" * 900_000]
    send(kafka.address, topic, [*[each.strip() for each in WHOLE], *rubbish])
    folder.configure(SOURCE, topic_stage(kafka.address, topic, ""))
    found = folder.audit(0)
    assert found.counts() == ALL
    assert sum(found.flaws("lake").values()) == len(rubbish)
    assert found.flaws("lake")["malformed"] >= 5


@pytest.mark.servers
def test_an_empty_topic_is_a_total_loss(
    folder: Folder, kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=3)
    folder.configure(SOURCE, topic_stage(kafka.address, topic))
    found = folder.audit(1)
    assert found.verdict == "fail"
    assert found.counts() == (60, 0, 60, 0, 0, 0)
    assert f"no record is there: {topic}." in found.told("empty")


@pytest.mark.servers
def test_what_retention_trimmed_unseen_is_unknown_and_not_lost(
    folder: Folder, kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    values = [each.strip() for each in WHOLE]
    folder.configure(SOURCE, topic_stage(kafka.address, topic))
    send(kafka.address, topic, values[:20])
    assert folder.audit(1).verdict == "fail"
    send(kafka.address, topic, values[20:])
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for future in admin.delete_records([TopicPartition(topic, 0, 40)]).values():
        future.result(30)
    found = folder.audit(1)
    assert found.verdict == "unknown"
    assert found.counts() == (60, 40, 0, 20, 0, 0)
    assert f"1 partition of lake ({topic}/0) was trimmed" in found.told("trimmed")


@pytest.mark.servers
def test_a_broker_that_dies_leaves_its_records_unknown_until_it_is_back(
    folder: Folder, own_kafka: Broker
) -> None:
    topic = create_topic(own_kafka)
    send(own_kafka.address, topic, [each.strip() for each in WHOLE[:30]])
    folder.configure(SOURCE, topic_stage(own_kafka.address, topic))
    assert folder.audit(1).counts() == (60, 30, 30, 0, 0, 0)
    own_kafka.kill()
    found = folder.audit(2)
    assert "nothing listens on" in found.err
    assert found.books()["delivered"] == 30
    own_kafka.restart()
    send(own_kafka.address, topic, [each.strip() for each in WHOLE[30:]])
    assert folder.audit(0).counts() == ALL
