"""A shipper sends log lines to the local cluster, as Logstash does on each host.

Two faults: it begins a rotated file at what was its end when it noticed it, and on one host it
hangs half-way and never says so (a zombie).
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from confluent_kafka import Producer

from .hosts import HOSTS, STREAMS
from .truth import Truth

SKIPPED_HEAD = ("host2", "app", 1_500)  # host, stream, lines of the rotated file never read
HANGS = ("host5", 0.5)  # host, share of each file that it sends before it hangs


def ship(folder: Path, brokers: str, topic: str, truth: Truth) -> Iterator[tuple[str, int]]:
    """Send every host's files. Yields (host, records sent) as each host is done."""
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for host in HOSTS:
        sent = 0
        for stream in STREAMS:
            for line in _shipped(folder / host, host, stream, truth):
                producer.produce(topic, line, key=host, timestamp=_arrival(line))
                sent += 1
            producer.poll(0)
        producer.flush()
        yield host, sent


def _shipped(folder: Path, host: str, stream: str, truth: Truth) -> list[bytes]:
    old = (folder / f"{stream}.jsonl.1").read_bytes().splitlines()
    new = (folder / f"{stream}.jsonl").read_bytes().splitlines()
    if (host, stream) == SKIPPED_HEAD[:2]:
        truth.tell("lost", "head of a rotated file skipped", new[: SKIPPED_HEAD[2]])
        new = new[SKIPPED_HEAD[2] :]
    lines = old + new
    if host == HANGS[0]:
        reached = int(len(lines) * HANGS[1])
        truth.tell("lost", "shipper hung half-way", lines[reached:])
        lines = lines[:reached]
    return lines


def _arrival(line: bytes) -> int:
    """Milliseconds: a fifth of a second after the event, or now for a line that tells no time."""
    try:
        at = datetime.fromisoformat(json.loads(line)["ts"])
    except ValueError:
        return 0
    return int(at.timestamp() * 1000) + 200
