"""Fixtures that are real servers. `conftest.py` imports them."""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from examples.brokers import Broker

USERS = {"alice": "alice-has-a-secret"}
MakeTopic = Callable[..., str]


@pytest.fixture(scope="session")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A self-signed server certificate: (PKCS12 store, certificate as PEM, password)."""
    folder = tmp_path_factory.mktemp("tls")
    store, certificate, password = folder / "store.p12", folder / "ca.pem", "store-has-a-secret"
    same = ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", password]
    name = ["-alias", "broker", "-dname", "CN=localhost", "-ext", "san=ip:127.0.0.1"]
    for command in (
        ["keytool", "-genkeypair", *same, *name, "-keyalg", "EC", "-validity", "2"],
        ["keytool", "-exportcert", *same, "-alias", "broker", "-rfc", "-file", str(certificate)],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return store, certificate, password


@pytest.fixture(scope="session")
def kafka(keystore: tuple[Path, Path, str]) -> Iterator[Broker]:
    """A Kafka broker for the whole test run. Make topics of your own with `make_topic`."""
    settings = {"message.max.bytes": "33554432", "log.segment.bytes": "104857600"}
    store, _, password = keystore
    with Broker("tests", settings, users=USERS, keystore=(store, password)) as broker:
        yield broker


@pytest.fixture(scope="session")
def second_kafka() -> Iterator[Broker]:
    """Another cluster, for pipelines that have two."""
    with Broker("tests-second") as broker:
        yield broker


@pytest.fixture(scope="session")
def mortal_kafka() -> Iterator[Broker]:
    """What `own_kafka` gives."""
    with Broker("tests-own") as broker:
        yield broker


@pytest.fixture
def own_kafka(mortal_kafka: Broker) -> Broker:
    """A broker that a test may kill, and must leave running or not as it likes."""
    return mortal_kafka if mortal_kafka.pid is not None else mortal_kafka.start()


def create_topic(broker: Broker, partitions: int = 1, name: str = "", **config: str) -> str:
    """A new topic's name. config: topic settings, with _ for the dots."""
    name = name or f"topic-{uuid.uuid4().hex[:12]}"
    settings = {key.replace("_", "."): value for key, value in config.items()}
    topic = NewTopic(name, partitions, 1, config=settings)
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([topic])[name].result(30)
    return name


@pytest.fixture
def make_topic(kafka: Broker) -> MakeTopic:
    """make_topic(partitions=1, name="", cleanup_policy="compact", ...) on the broker `kafka`."""

    def make(partitions: int = 1, name: str = "", **config: str) -> str:
        return create_topic(kafka, partitions, name, **config)

    return make
