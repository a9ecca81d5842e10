"""Full scans by Spark against what Spark does itself, on two cores: `--engine spark`, local[2].

    python -m benchmarks.spark [--records 30000000] [--kafka 20000000] [--folder DIR]

JSON lines: against `spark.read.json` with a schema of the same four columns, all strings, counted.
Kafka: against a count by Spark's own Kafka source, as it comes and with settings that suit it: the
larger of its polls and fetches, and more tasks than partitions. Its jars are fetched with Maven
(spark_kafka/pom.xml). Where they cannot be had, against a bare confluent-kafka loop in the same
number of tasks (mapInArrow), which is shown in any case.

Each measurement has a process and a session of its own and runs three times in it, each scan into
a new store; the best counts. What the session took to start is told apart, and the first run, in
which Java and Python load their code. A full scan is: plan, read, decode, observe, write, commit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.scan import PARTS, data

POM = Path(__file__).parent / "spark_kafka" / "pom.xml"
RUNS = 3
LEAST = 3.0  # times as fast as Spark itself
TASKS = 2
MASTER = f"local[{TASKS}]"


def _session(**conf: str) -> Any:
    """The session that scans start for themselves, with their settings; used by all alike."""
    from fidelity.config import Engine
    from fidelity.spark.session import session

    conf = {"spark.driver.memory": "4g", **conf}
    return session(Engine(kind="spark", master=MASTER, conf=conf)).spark


def _scanned(stage: Any) -> Callable[[Any], int]:
    def act(_: Any) -> int:
        from fidelity.config import Engine, Pipeline
        from fidelity.scan import scan
        from fidelity.store import Store

        with tempfile.TemporaryDirectory() as folder:
            made = Pipeline(name="bench", store=folder, stages=(stage,))
            store = Store.open(folder, "bench")
            found = scan(made, store, engine=Engine(kind="spark", master=MASTER))
        return sum(one.records for one in found.stages)

    return act


def json_scanned(place: str) -> Callable[[Any], int]:
    """Fidelity, JSON lines."""
    from benchmarks.scan import pipeline

    return _scanned(pipeline(Path(place), Path("none")).stages[0])


def json_read(place: str) -> Callable[[Any], int]:
    """Spark's own reader, the same four columns."""

    def act(spark: Any) -> int:
        from pyspark.sql import functions as f

        columns = ("fid", "ts", "type", "host")
        schema = ", ".join(f"{name} STRING" for name in columns)
        rows = spark.read.schema(schema).json(f"{place}/*.jsonl")
        counted = rows.agg(*(f.count(name) for name in columns)).collect()[0]
        assert len(set(counted)) == 1, counted
        return int(counted[0])

    return act


def kafka_scanned(place: str) -> Callable[[Any], int]:
    """Fidelity, Kafka: ids in JSON."""
    from benchmarks.kafka import TOPIC
    from fidelity.config import Place, RecordSpec, Stage

    record = RecordSpec(stream=Place(field="type"), origin=Place(field="host"))
    return _scanned(
        Stage(name="kafka", kind="kafka", brokers=place, topics=(TOPIC,), record=record)
    )


def kafka_counted(place: str, **settings: str) -> Callable[[Any], int]:
    """Spark's own Kafka source, a count."""
    from benchmarks.kafka import TOPIC

    def act(spark: Any) -> int:
        source = spark.read.format("kafka").option("kafka.bootstrap.servers", place)
        return int(source.options(subscribe=TOPIC, **settings).load().count())

    return act


def kafka_counted_well(place: str) -> Callable[[Any], int]:
    """The same with settings that suit it: the best of those that were tried."""
    return kafka_counted(place, **_SUITABLE)


def kafka_consumed(place: str) -> Callable[[Any], int]:
    """A consume() loop in a task for each partition."""

    def loop(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa
        from confluent_kafka import Consumer, TopicPartition

        from benchmarks.kafka import _LOOP, TOPIC

        for batch in batches:
            count = 0
            for partition in batch.column(0).to_pylist():
                consumer = Consumer(_LOOP | {"bootstrap.servers": place})
                _, end = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition))
                consumer.assign([TopicPartition(TOPIC, partition, 0)])
                left = end
                while left:
                    left -= len(consumer.consume(min(1_000, left), 5))
                consumer.close()
                count += end
            yield pa.RecordBatch.from_pydict({"records": [count]})

    def act(spark: Any) -> int:
        rows = spark.range(0, TASKS, 1, TASKS).mapInArrow(loop, "records long").collect()
        return sum(row.records for row in rows)

    return act


SPARKS_OWN = ("Kafka, Spark's own source", "Kafka, it with good settings")
LOOP = "Kafka, consume() in tasks"
_SUITABLE = {
    "kafka.max.poll.records": "10000",
    "kafka.max.partition.fetch.bytes": str(10 << 20),
    "minPartitions": "8",
}

MEASURES: dict[str, Callable[[str], Callable[[Any], int]]] = {
    "JSON, full scan": json_scanned,
    "JSON, spark.read.json": json_read,
    "Kafka, full scan": kafka_scanned,
    SPARKS_OWN[0]: kafka_counted,
    SPARKS_OWN[1]: kafka_counted_well,
    LOOP: kafka_consumed,
}


def measure(name: str, place: str) -> dict[str, Any]:
    """Seconds of each run in one session, and what the session took."""
    act, seconds, records = MEASURES[name](place), [], 0
    begun = time.perf_counter()
    spark = _session(**(_with_jars() if name in SPARKS_OWN else {}))
    started = time.perf_counter() - begun
    for _ in range(RUNS):
        begun = time.perf_counter()
        records = act(spark)
        seconds.append(time.perf_counter() - begun)
    spark.stop()
    return {"started": started, "seconds": seconds, "records": records}


def apart(name: str, place: str, records: int) -> dict[str, Any]:
    """A measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.spark", "--measure", name, "--place", place]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["records"] == records, found
    best, first = min(found["seconds"]), found["seconds"][0]
    print(
        f"{name:26} {best:6.1f} s, {best / records * 1e9:5.0f} ns a record; the first "
        f"{first:.1f} s, the session {found['started']:.1f} s more",
        flush=True,
    )
    return found


def _ratio(what: str, scan: dict[str, Any], own: dict[str, Any], least: float = LEAST) -> bool:
    """Print how a scan compares; least 0: that is only told."""
    best: float = min(own["seconds"]) / min(scan["seconds"])
    whole = (own["seconds"][0] + own["started"]) / (scan["seconds"][0] + scan["started"])
    word = "ok" if best >= least else "MISSED"
    judged = f", at least {least:g}: {word}" if least else ""
    print(
        f"{what}: {best:.2f} times as fast{judged}; a first run with its session: {whole:.2f}",
        flush=True,
    )
    return best >= least


def main() -> int:
    """Measure, print, and say by the exit status whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=30_000_000)
    parser.add_argument("--kafka", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, default=Path(".build/bench"))
    parser.add_argument("--measure", choices=list(MEASURES))
    parser.add_argument("--place")
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.place)))
        return 0
    within = True
    if given.records:
        folder = str(data(given.folder / f"json-{given.records}", given.records, PARTS))
        names = ("JSON, full scan", "JSON, spark.read.json")
        scan, own = (apart(name, folder, given.records) for name in names)
        within &= _ratio("JSON", scan, own)
    if given.kafka:
        within &= _kafka(given.kafka)
    return 0 if within else 1


def _kafka(records: int) -> bool:
    from benchmarks.kafka import fill
    from examples.brokers import Broker
    from examples.processes import ServerError

    with Broker("benchmark", {"log.segment.bytes": str(1 << 30)}, lasting=True) as broker:
        fill(broker, records, TASKS)
        scan = apart("Kafka, full scan", broker.address, records)
        loop = apart(LOOP, broker.address, records)
        try:
            _with_jars()
        except ServerError as error:
            print(f"Spark's own Kafka source cannot be had: {error}", file=sys.stderr)
            return _ratio(LOOP, scan, loop)
        _ratio(LOOP, scan, loop, least=0)
        own = [apart(name, broker.address, records) for name in SPARKS_OWN]
        held = [_ratio(name, scan, each) for name, each in zip(SPARKS_OWN, own, strict=True)]
        return all(held)


def _with_jars() -> dict[str, str]:
    """What a session with Spark's Kafka source needs. Raises ServerError: it cannot be had."""
    from examples.processes import BUILD, jars

    found = jars(POM, BUILD / "spark-kafka", "Spark's Kafka source")
    return {"spark.jars": ",".join(sorted(map(str, found.glob("*.jar"))))}


if __name__ == "__main__":
    sys.exit(main())
