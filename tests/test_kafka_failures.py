"""Brokers that die, refuse or were never there: one paragraph that says what to do, no secret."""

import logging
import pickle
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from kafka_records import fill, planned, read_bulk, read_unit, records_of, stage_of, until
from servers import USERS, MakeTopic, create_topic

from examples.brokers import Broker
from fidelity.config import Stage
from fidelity.errors import SourceError
from fidelity.sources import kafka as source
from fidelity.sources.kafka_options import problems, settings
from fidelity.sources.planning import Wanted

SECRET = "a-wrong-secret"


def failure(stage: Stage) -> str:
    """What planning says, checked for form."""
    began = time.monotonic()
    with pytest.raises(SourceError) as caught:
        planned(stage)
    assert time.monotonic() - began < 16
    text = str(caught.value)
    assert text == str(pickle.loads(pickle.dumps(caught.value)))
    assert caught.value.action
    assert f"stage {stage.name}" in text
    assert "\n" not in text
    for secret in (SECRET, *USERS.values()):
        assert secret not in text + repr(caught.value)
    return text


def quick(address: str, topic: str = "any", **options: str) -> Stage:
    return stage_of(address, topic, default_api_timeout_ms="1500", **options)


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_port_where_nothing_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    assert f"nothing listens on {address}" in failure(quick(address))


def test_a_server_that_never_answers_is_given_up(silent: str) -> None:
    assert "cannot be read" in failure(quick(silent))


def test_brokers_that_are_no_addresses_are_refused() -> None:
    assert "host:port" in failure(quick("nowhere:port"))


def test_a_host_that_does_not_exist_is_named() -> None:
    assert "nowhere.invalid" in failure(quick("nowhere.invalid:9092"))


@pytest.mark.servers
def test_one_dead_broker_of_two_does_not_matter(kafka: Broker, make_topic: MakeTopic) -> None:
    topic = make_topic()
    fill(kafka.address, topic, 10)
    assert len(read_bulk(stage_of(f"127.0.0.1:1,{kafka.address}", topic))) == 10


@pytest.mark.servers
def test_a_missing_topic_is_named_with_the_nearest_and_not_made(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic(name="clicks-of-today")
    text = failure(stage_of(kafka.address, "clicks-of-tody"))
    assert "no topic clicks-of-tody" in text
    assert f"did you mean {topic}?" in text
    admin = AdminClient({"bootstrap.servers": kafka.address})
    assert "clicks-of-tody" not in admin.list_topics(timeout=10).topics


@pytest.mark.servers
def test_an_impossible_topic_name_is_refused(kafka: Broker) -> None:
    assert "no name of a topic" in failure(stage_of(kafka.address, "not a name"))


@pytest.mark.servers
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_wrong_credentials_are_told_at_once_and_right_ones_read(
    mechanism: str, kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    fill(kafka.address, topic, 10)
    options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism}
    good = {**options, "sasl_username": "alice", "sasl_password": USERS["alice"]}
    assert len(read_bulk(stage_of(kafka.sasl_address, topic, **good))) == 10
    text = failure(stage_of(kafka.sasl_address, topic, **{**good, "sasl_password": SECRET}))
    assert "refuses the log-in" in text
    assert "sasl.password" in text


@pytest.mark.servers
def test_a_mechanism_that_the_broker_lacks_is_told(kafka: Broker) -> None:
    text = failure(
        quick(
            kafka.sasl_address,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username="alice",
            sasl_password=SECRET,
        )
    )
    assert "SCRAM-SHA-512" in text


@pytest.mark.servers
def test_a_plain_client_at_a_port_for_sasl_or_tls_is_told_of_the_option(kafka: Broker) -> None:
    for address in (kafka.sasl_address, kafka.ssl_address):
        assert "security.protocol" in failure(quick(address))


@pytest.mark.servers
def test_tls_reads_with_the_right_certificate_only(
    kafka: Broker, make_topic: MakeTopic, keystore: tuple[Path, Path, str]
) -> None:
    topic = make_topic()
    fill(kafka.address, topic, 10)
    trusted = {"security_protocol": "SSL", "ssl_ca_location": str(keystore[1])}
    assert len(read_bulk(stage_of(kafka.ssl_address, topic, **trusted))) == 10
    text = failure(quick(kafka.ssl_address, security_protocol="SSL"))
    assert "TLS" in text
    assert "ssl.ca.location" in text
    assert "TLS" in failure(quick(kafka.address, security_protocol="SSL"))


@pytest.mark.servers
def test_a_broker_that_dies_and_comes_back_is_read_to_the_end(own_kafka: Broker) -> None:
    topic = create_topic(own_kafka)
    fill(own_kafka.address, topic, 20_000, size=500)
    stage = stage_of(own_kafka.address, topic, fetch_max_bytes="100000")
    (unit,) = planned(stage)
    reader = source.read(unit, stage, Wanted(key=True))
    offsets = [record.offset for record in records_of(next(reader))]
    own_kafka.kill()
    own_kafka.launch()  # comes back while the reader tries
    for lines in reader:
        offsets += lines.positions.tolist()
    assert offsets == list(range(20_000))
    assert reader.end == 20_000


@pytest.mark.servers
def test_a_leader_that_dies_is_read_on_from_the_one_that_takes_over() -> None:
    with Broker("tests-first") as first, Broker("tests-follower", joins=first) as second:
        admin = AdminClient({"bootstrap.servers": first.address})
        until(lambda: len(admin.list_topics(timeout=10).brokers) == 2, "two brokers")
        topic = NewTopic("moved", 1, replica_assignment=[[2, 1]])
        admin.create_topics([topic])["moved"].result(30)
        fill(first.address, "moved", 20_000, size=500)  # on both, once that returns
        stage = stage_of(first.address, "moved", fetch_max_bytes="100000")
        (unit,) = planned(stage)
        reader = source.read(unit, stage, Wanted(key=True))
        offsets = [record.offset for record in records_of(next(reader))]
        second.kill()
        for lines in reader:
            offsets += lines.positions.tolist()
    assert offsets == list(range(20_000))


@pytest.mark.servers
def test_a_broker_that_stays_dead_is_told_and_leaves_the_unit_unread(own_kafka: Broker) -> None:
    topic = create_topic(own_kafka)
    fill(own_kafka.address, topic, 20_000, size=500)
    options = {"fetch_max_bytes": "100000", "default_api_timeout_ms": "1500"}
    stage = stage_of(own_kafka.address, topic, **options)
    (unit,) = planned(stage)
    reader = source.read(unit, stage, Wanted(key=True))
    next(reader)
    own_kafka.kill()
    with pytest.raises(SourceError, match="nothing listens"):
        list(reader)
    assert reader.end < unit.end
    own_kafka.start()
    until(lambda: len(read_unit(unit, stage)) == 20_000, "the broker")


def test_unknown_options_name_the_nearest() -> None:
    assert problems({"sasl.pasword": SECRET}) == [
        "unknown Kafka option sasl.pasword, did you mean sasl.password?"
    ]
    text = failure(quick("127.0.0.1:1", sasl_pasword=SECRET))
    assert "sasl.password" in text


def test_wrong_values_are_told_without_the_value() -> None:
    for name in ("security.protocol", "isolation.level", "check.crcs", "fetch.max.bytes"):
        (problem,) = problems({name: SECRET})
        assert name in problem
        assert SECRET not in problem


def test_sasl_without_a_user_or_without_its_protocol_is_told() -> None:
    assert len(problems({"security.protocol": "SASL_SSL"})) == 2
    (problem,) = problems({"sasl.username": "alice"})
    assert "no effect" in problem


def test_unusable_certificates_are_told_by_option(tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text(SECRET)
    for name in ("ssl.ca.location", "ssl.certificate.location"):
        for place in (tmp_path / "junk.pem", tmp_path / "gone.pem"):
            with pytest.raises(ValueError, match=name) as caught:
                settings({"security.protocol": "SSL", name: str(place)})
            assert SECRET not in str(caught.value)


def test_both_clients_names_of_an_option_mean_the_same() -> None:
    same = {"security.protocol": "sasl_plaintext", "sasl.username": "a", "sasl.password": "b"}
    one = settings({**same, "sasl.mechanism": "scram-sha-256"})
    assert one == settings({**same, "sasl.mechanisms": "SCRAM-SHA-256"})


@pytest.mark.servers
def test_not_even_a_debug_log_holds_a_password(
    kafka: Broker, make_topic: MakeTopic, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"sasl_username": "alice", "sasl_password": USERS["alice"], "client_id": "debug"}
    with caplog.at_level(logging.DEBUG):
        planned(
            stage_of(
                kafka.sasl_address, make_topic(), security_protocol="SASL_PLAINTEXT", **options
            )
        )
    assert USERS["alice"] not in caplog.text


def test_settings_show_no_secret() -> None:
    options = {"security.protocol": "SASL_PLAINTEXT", "sasl.username": "alice"}
    assert SECRET not in repr(settings({**options, "sasl.password": SECRET}))
