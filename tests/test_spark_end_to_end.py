"""The whole way on a cluster: log files, two brokers, lakes in HDFS and S3, the store on S3."""

import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from audits import COMMAND, REPOSITORY
from confluent_kafka import Producer
from lakes import Lake, bucket_of
from servers import create_topic
from test_exact import expected_books, passed_on, produced, told_books, told_differences
from test_lakes import parquet_of, stage, text_of

from examples.brokers import Broker
from examples.cluster import Cluster
from examples.lakes import S3, MissingError
from tests.model import Record, differences, multiset

pytestmark = pytest.mark.servers
AS_OF = "2026-01-02T00:00:00Z"


@pytest.fixture(scope="module")
def second_s3() -> Iterator[S3]:
    """Another S3 server, with other keys."""
    try:
        server = S3("another", "another-has-a-secret").launch()
    except MissingError as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def second_bucket(second_s3: S3) -> Lake:
    return bucket_of(second_s3)


def sent(broker: Broker, records: list[Record]) -> str:
    """A new topic's name, that has these records."""
    topic = create_topic(broker, 3)
    producer = Producer({"bootstrap.servers": broker.address, "compression.type": "lz4"})
    for number, line in enumerate(text_of(records).splitlines()):
        producer.produce(topic, line, partition=number % 3)
    assert producer.flush(60) == 0
    return topic


def kafka_stage(broker: Broker, topic: str, after: str) -> dict[str, object]:
    return {"kind": "kafka", "after": after, "brokers": broker.address, "topic": topic}


def test_a_pipeline_over_everything_is_audited_exactly_by_a_cluster(
    cluster: Cluster,
    kafka: Broker,
    second_kafka: Broker,
    bucket: Lake,
    second_bucket: Lake,
    second_s3: S3,
    folder: Lake,
    tmp_path: Path,
) -> None:
    """Two S3 servers with keys of their own: the store's come from a profile, on the executors too,
    the stage's stand under its options."""
    random = Random(23)
    hosts = produced(random, 6, 900, 3)
    local = passed_on(random, hosts, 0.01, 2)
    aggregate = passed_on(random, local, 0.02, 0)
    objects, blocks = passed_on(random, aggregate, 0.02, 3), passed_on(random, aggregate, 0.3, 0)
    (tmp_path / "logs").mkdir()
    for n in range(4):
        (tmp_path / "logs" / f"{n}.jsonl").write_bytes(text_of(hosts[n::4]))
        second_bucket.put(f"lake/{n}.parquet", parquet_of(objects[n::4]))
        folder.put(f"lake/{n}.jsonl.gz", gzip.compress(text_of(blocks[n::4])))
    credentials = tmp_path / "credentials"
    keys = (bucket.options["aws_access_key_id"], bucket.options["aws_secret_access_key"])
    credentials.write_text(
        f"[auditor]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n"
    )
    profile = {"AWS_PROFILE": "auditor", "AWS_SHARED_CREDENTIALS_FILE": str(credentials)}
    document = {
        "pipeline": "everything",
        "store": f"{bucket.uri}/store",
        "options": {
            "aws_endpoint_url": bucket.options["aws_endpoint_url"],
            "aws_region": bucket.options["aws_region"],
        },
        "engine": {
            "kind": "spark",
            "master": cluster.master,
            "conf": {
                "spark.executor.memory": "512m",
                "spark.eventLog.enabled": "true",
                "spark.eventLog.dir": f"file://{tmp_path}/events",
                "spark.eventLog.compress": "false",
                **{f"spark.executorEnv.{name}": value for name, value in profile.items()},
            },
        },
        "record": {"id": "fid", "time": "ts", "stream": "type", "origin": "host"},
        "stages": {
            "hosts": {"kind": "files", "path": "logs/*.jsonl"},
            "local": kafka_stage(kafka, sent(kafka, local), "hosts"),
            "aggregate": kafka_stage(second_kafka, sent(second_kafka, aggregate), "local"),
            **stage("objects", second_bucket, "lake/*.parquet", "aggregate"),
            **stage("blocks", folder, "lake/*.gz", "aggregate"),
        },
    }
    (tmp_path / "events").mkdir()
    (tmp_path / "pipeline.yaml").write_text(json.dumps(document))
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [*COMMAND, "audit", str(tmp_path / "pipeline.yaml"), "--json", "--as-of", AS_OF],
        cwd=REPOSITORY,
        env=others | profile,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    places = {"hosts": hosts, "local": local, "aggregate": aggregate}
    places |= {"objects": objects, "blocks": blocks}
    sets = {name: multiset(records) for name, records in places.items()}
    for here, before in (
        ("local", "hosts"),
        ("aggregate", "local"),
        ("objects", "aggregate"),
        ("blocks", "aggregate"),
    ):
        for against, reference in (("source", "hosts"), (before, before)):
            assert told_books(report, here, against) == expected_books(sets[reference], sets[here])
            assert told_differences(report, here, against) == differences(
                sets[reference], sets[here]
            )
    events = "".join(
        file.read_text() for file in (tmp_path / "events").rglob("*") if file.is_file()
    )
    assert "fidelity: stage objects" in events
    assert "MapInArrow" in events
    for secret in (second_s3.secret_key, keys[1]):
        assert secret not in events + done.stdout + done.stderr
