"""Reading Kafka in bulk against a bare librdkafka consume() loop, in one run, from one broker.

    python -m benchmarks.kafka [records]

Records of about 170 bytes, lz4, written by librdkafka. The loop is given settings that suit it:
by default it stands still for a second whenever its queue was full (fetch.queue.backoff.ms), and
takes seven times as long. It asks for no more than is left, else its last call waits in vain.

As librdkafka does, a worker reads in threads of its own. What counts is the clock; the loop and the
scans take turns, and the best of several counts. The scans run in this process, whose code is
loaded; what a worker process takes to start is shown apart. Processor time stands beside it, for
when others use the machine.
"""

import sys
import tempfile
import time
from collections.abc import Callable

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.generate import json_lines
from examples.brokers import Broker
from fidelity import scheduler
from fidelity.config import Pipeline, Place, RecordSpec, Stage
from fidelity.scan import scan
from fidelity.sources import kafka
from fidelity.sources.planning import Wanted
from fidelity.store import Store
from fidelity.warm import warm

RUNS = 5
TOPIC = "records"
LIMITS = {"full scan, ids in JSON": 3.5, "full scan, ids in headers": 6.0}
"""How many times as fast as the loop a full scan must be."""

_LOOP = {"fetch.queue.backoff.ms": 5, "enable.auto.commit": False, "group.id": "benchmark"}
_CONSUME = 1_000
_IN_JSON = RecordSpec(stream=Place(field="type"), origin=Place(field="host"))
_IN_HEADERS = RecordSpec(
    id=Place(header="fid"),
    time=Place(builtin="timestamp"),
    stream=Place(builtin="topic"),
    origin=Place(constant="one"),
)


def fill(broker: Broker, records: int, partitions: int = 1) -> None:
    """Write the records to so many partitions, each with its id as a header, too."""
    address: dict[str, str | int | float | bool] = {"bootstrap.servers": broker.address}
    admin = AdminClient(address)
    admin.create_topics([NewTopic(TOPIC, partitions, 1)])[TOPIC].result(30)
    limits = {"queue.buffering.max.messages": 1_000_000, "queue.buffering.max.kbytes": 1 << 20}
    producer = Producer({**address, **limits, "compression.type": "lz4", "linger.ms": 50})
    for chunk in json_lines(records):
        for line in chunk.splitlines():
            at = line.index(b'"fid":"') + 7
            fid = bytes.fromhex(line[at : at + 8].decode())
            while True:
                try:
                    producer.produce(TOPIC, value=line, headers=[("fid", fid)])
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(60) == 0


def consume(broker: Broker, records: int) -> None:
    """The bare loop: take every message, do nothing with it."""
    consumer = Consumer(_LOOP | {"bootstrap.servers": broker.address})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    left = records
    while left:
        left -= len(consumer.consume(min(_CONSUME, left), 5))
    consumer.close()


def read(broker: Broker, records: int) -> None:
    """Fetch, check, decompress, lay out."""
    stage, count = _stage(broker, _IN_JSON), 0
    for unit in kafka.plan(stage, [], time.time_ns() // 1000, 0).units:
        for lines in kafka.read(unit, stage, Wanted(key=False)):
            count += len(lines)
    assert count == records


def scanned(broker: Broker, folder: str, records: int, spec: RecordSpec) -> Callable[[], None]:
    """A full scan by one worker into a new, empty store: read, decode, observe, write, commit."""
    stage = _stage(broker, spec)
    pipeline = Pipeline(name="benchmark", store=folder, stages=(stage,), workers=1)
    store = Store.open(tempfile.mkdtemp(dir=folder), "benchmark")

    def act() -> None:
        done = scan(pipeline, store, workers=1)
        assert [one.records for one in done.stages] == [records]

    return act


def _stage(broker: Broker, spec: RecordSpec) -> Stage:
    return Stage(name="kafka", kind="kafka", brokers=broker.address, topics=(TOPIC,), record=spec)


def apart(act: Callable[[], None]) -> Callable[[], None]:
    """The same by a worker process, its start included."""

    def started() -> None:
        tiny, scheduler.TINY = scheduler.TINY, 0
        act()
        scheduler.TINY = tiny

    return started


def measure(records: int) -> dict[str, tuple[float, float]]:
    """Nanoseconds a record by the clock and of processor time, each the best of several runs."""
    warm()
    scheduler.TINY = 1 << 62  # no worker process: this is the one
    settings = {"log.segment.bytes": str(1 << 30)}
    with (
        Broker("benchmark", settings, lasting=True) as broker,
        tempfile.TemporaryDirectory() as folder,
    ):
        fill(broker, records)

        def new(spec: RecordSpec) -> Callable[[], None]:
            return scanned(broker, folder, records, spec)

        best = dict[str, tuple[float, float]]()
        for _ in range(RUNS):
            steps: dict[str, Callable[[], None]] = {
                "librdkafka consume()": lambda: consume(broker, records),
                "bulk read": lambda: read(broker, records),
                "full scan, ids in JSON": new(_IN_JSON),
                "full scan, ids in headers": new(_IN_HEADERS),
                "JSON, starting a worker": apart(new(_IN_JSON)),
                "headers, starting a worker": apart(new(_IN_HEADERS)),
            }
            for name, step in steps.items():
                begun, worked = time.perf_counter_ns(), time.process_time_ns()
                step()
                wall = (time.perf_counter_ns() - begun) / records
                work = (time.process_time_ns() - worked) / records
                known = best.get(name, (wall, work))
                best[name] = min(known[0], wall), min(known[1], work)
    return best


def main() -> int:
    """Print the figures; 1 if a scan is slower than it must be."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
    best = measure(records)
    loop, _ = best["librdkafka consume()"]
    for name, (ns, work) in best.items():
        print(
            f"{name:28} {ns:8.0f} ns a record {loop / ns:8.1f} times as fast as the loop,"
            f" {work:6.0f} ns of processor time in this process"
        )
    within = True
    for name, least in LIMITS.items():
        ratio = loop / best[name][0]
        within &= ratio >= least
        word = "ok" if ratio >= least else "MISSED"
        print(f"{name:28} {ratio:8.2f} times as fast, at least {least:g}: {word}")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
