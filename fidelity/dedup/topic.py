"""A clean copy of a topic's offset range: into another topic, in one transaction.

Each record goes to the partition of its number, in order, with its key, value, headers and
timestamp. Invariant: whoever reads committed records sees all of the copy or nothing of it.
aiokafka's client does both sides; it is used here as it is advertised.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from numpy.typing import NDArray

from fidelity import sources
from fidelity.config import Pipeline, Stage
from fidelity.dedup.clean import CHANGED, Part, repeated_in
from fidelity.dedup.job import Books, Found, Mapper, find
from fidelity.errors import DedupError, FidelityError, SourceError, UnreadableError, UsageError
from fidelity.sources.kafka_client import cluster
from fidelity.sources.kafka_options import settings
from fidelity.sources.planning import Wanted
from fidelity.units import Unit

Offsets = Mapping[int, tuple[int, int]]
"""partition -> [first offset, offset after the last)."""

_PATIENCE = 60  # seconds without an answer
_GLANCE = 0.02  # seconds between two looks
_ASIDE = 10_000  # records that may be on their way to the brokers


@dataclass(frozen=True, slots=True)
class RepeatsTask:
    """A unit of a topic, to be read again for its repeats. Can be pickled."""

    part: Part
    stage: Stage
    window: int
    by_window: bool


def repeats_task(task: RepeatsTask) -> NDArray[np.int64]:
    """The offsets of a unit's repeats. Raises UnreadableError, SourceError."""
    part = task.part
    repeated, read, _ = repeated_in(
        part.unit, task.stage, task.window, task.by_window, part.repeats
    )
    if read != part.records:
        raise UnreadableError(CHANGED, where=part.unit.path, action="Run again.")
    return repeated


def clean_topic(
    pipeline: Pipeline,
    stage: str,
    output: str,
    mapper: Mapper,
    *,
    brokers: str = "",
    options: Mapping[str, str] | None = None,
    offsets: Offsets | None = None,
    by_window: bool = False,
) -> Books:
    """Produce a topic's records to another topic, without later copies.

    Args:
        output: a topic that is there, empty, with at least as many partitions.
        brokers, options: the output's cluster; the stage's, if none are given.
        offsets: of the partitions to take, and what of them; by default all that is there.

    Raises what `clean_copy` does.
    """
    chosen = pipeline.stage(stage)
    if chosen.kind != "kafka" or len(chosen.topics) != 1:
        raise UsageError(f"`{stage}` is no stage of one topic.", action="Name an output folder.")
    there = brokers or chosen.brokers
    if (there, output) == (chosen.brokers, chosen.topics[0]):
        raise UsageError("the output is the topic itself.", where=output)
    target = _Target(there, chosen.options if options is None else dict(options), output)
    partitions = cluster(chosen.brokers, chosen.options, stage).topics(chosen.topics)
    target.check(1 + max(partitions[chosen.topics[0]].leaders))
    units = _ranges(_planned(chosen), offsets)
    found = find(pipeline, chosen, units, mapper, by_window=by_window)
    tasks = [
        RepeatsTask(part, chosen, found.window, by_window) for part in found.parts if part.records
    ]
    repeated: list[NDArray[np.int64]] = mapper(repeats_task, tasks)
    runs = [
        _Run(task.part, frozenset(each.tolist()))
        for task, each in zip(tasks, repeated, strict=True)
    ]
    asyncio.run(_copied(chosen, runs, target))
    return _books(found, runs, output)


@dataclass(frozen=True, slots=True)
class _Run:
    part: Part
    repeated: frozenset[int]


def _books(found: Found, runs: Sequence[_Run], output: str) -> Books:
    read, dropped = sum(run.part.records for run in runs), sum(len(run.repeated) for run in runs)
    partitions = len({run.part.unit.partition for run in runs})
    return Books(
        found.stage.name, output, read, read - dropped, dropped, found.elsewhere, found.flaws,
        partitions,
    )  # fmt: skip


def _planned(stage: Stage) -> list[Unit]:
    plan = sources.plan(stage, [], 0, 0)
    for row in plan.rows:
        if row.status == "unreadable":
            where = f"stage {stage.name}: {row.unit.path}/{row.unit.partition}"
            raise DedupError(row.reason, where=where, action="A copy would lack its records.")
    return plan.units


def _ranges(units: Sequence[Unit], offsets: Offsets | None) -> list[Unit]:
    """The units, cut to the offsets that were asked for, in order."""
    units = sorted(units, key=lambda unit: (unit.partition, unit.start))
    if offsets is None:
        return units
    for number, (first, end) in offsets.items():
        there = [unit for unit in units if unit.partition == number]
        held = (there[0].start, there[-1].end) if there else (0, 0)
        if not held[0] <= first <= end <= held[1]:
            raise UsageError(
                f"partition {number} holds offsets {held[0]} to {held[1]}, not {first} to {end}.",
                action="Ask for offsets that are there.",
            )
    wanted = [(unit, *offsets[unit.partition]) for unit in units if unit.partition in offsets]
    cut = [
        replace(unit, start=max(unit.start, first), end=min(unit.end, end))
        for unit, first, end in wanted
    ]
    return [unit for unit in cut if unit.start < unit.end]


async def _copied(stage: Stage, runs: Sequence[_Run], target: "_Target") -> None:
    """Copy all runs in one transaction."""
    where = f"stage {stage.name}: {stage.topics[0]}"
    try:
        async with AsyncExitStack() as open_:
            consumer = AIOKafkaConsumer(
                **_client(stage.brokers, stage.options),
                auto_offset_reset="none",
                enable_auto_commit=False,
                isolation_level="read_committed",
            )
            await consumer.start()
            open_.push_async_callback(consumer.stop)
            producer = target.producer()
            await producer.start()
            open_.push_async_callback(producer.stop)
            ends: dict[TopicPartition, int] = {}
            async with producer.transaction():
                for run in runs:
                    ends |= await _copy(consumer, producer, run, target.topic)
    except (kafka_errors.KafkaError, OSError) as error:
        raise _refused(error, where, target) from None
    try:
        await asyncio.wait_for(_readable(target, ends), _PATIENCE)
    except (kafka_errors.KafkaError, OSError) as error:  # a timeout is an OSError
        raise SourceError(
            f"the copy is committed, but cannot be read yet ({type(error).__name__}).",
            where=target.topic,
            action="Look whether the topic's brokers are up; they finish it by themselves.",
        ) from None


async def _readable(target: "_Target", ends: Mapping[TopicPartition, int]) -> None:
    """Wait for those who read committed records: brokers confirm a commit before it shows."""
    client = _client(target.brokers, target.options)
    async with AIOKafkaConsumer(**client, isolation_level="read_committed") as consumer:
        while True:
            stable = await consumer.end_offsets(list(ends))
            if all(stable[place] >= end for place, end in ends.items()):
                return
            await asyncio.sleep(_GLANCE)


async def _copy(consumer: Any, producer: Any, run: _Run, topic: str) -> dict[TopicPartition, int]:
    """Send a run's kept records; where they end in the topic, by partition."""
    unit, kept, waiting, ends = run.part.unit, 0, [], {}
    place = TopicPartition(unit.path, unit.partition)
    consumer.assign([place])
    consumer.seek(place, unit.start)
    at, quiet = unit.start, 0
    while at < unit.end:
        answer = await consumer.getmany(place, timeout_ms=1000, max_records=_ASIDE)
        quiet = 0 if answer else quiet + 1
        if quiet > _PATIENCE:
            raise kafka_errors.RequestTimedOutError
        for record in answer.get(place, ()):
            if record.offset < unit.end and record.offset not in run.repeated:
                kept += 1
                if record.key is None and record.value is None:
                    where = f"{unit.path}/{unit.partition} offset {record.offset}"
                    raise DedupError("a record without key and value cannot be sent.", where=where)
                waiting.append(
                    await producer.send(
                        topic,
                        value=record.value,
                        key=record.key,
                        partition=unit.partition,
                        timestamp_ms=max(record.timestamp, 0),
                        headers=list(record.headers),
                    )
                )
        at = await consumer.position(place)
        for sent in waiting:
            there = await sent
            ends[there.topic_partition] = there.offset + 1
        waiting.clear()
    if kept + len(run.repeated) != run.part.records:
        where = f"{unit.path}/{unit.partition}"
        raise UnreadableError(CHANGED, where=where, action="Run again.")
    return ends


@dataclass(frozen=True, slots=True)
class _Target:
    brokers: str
    options: dict[str, str]
    topic: str

    def producer(self) -> Any:
        """A producer with a transaction of this copy's own."""
        return AIOKafkaProducer(
            **_client(self.brokers, self.options),
            acks="all",
            transactional_id=f"fidelity-dedup-{self.topic}",
            transaction_timeout_ms=900_000,  # what brokers allow at most, unless told otherwise
            max_request_size=64 << 20,
            max_batch_size=1 << 18,
            linger_ms=5,
        )

    def check(self, partitions: int) -> None:
        """Raises UsageError if it has too few partitions or is not empty; SourceError."""
        stage = Stage(
            name="output",
            kind="kafka",
            brokers=self.brokers,
            topics=(self.topic,),
            options=self.options,
        )
        there = cluster(self.brokers, self.options, f"topic {self.topic}")
        numbers = there.topics([self.topic])[self.topic].leaders
        if len(numbers) < partitions:
            told = f"the topic has {len(numbers)} partitions, and {partitions} are needed."
            raise UsageError(told, where=self.topic, action=_MAKE)
        # What aborted copies left behind is no record.
        for unit in sources.plan(stage, [], 0, 0).units:
            if any(len(lines) for lines in sources.read(unit, stage, Wanted())):
                raise UsageError("the output is not empty.", where=self.topic, action=_MAKE)


_MAKE = "Make an empty topic with as many partitions as the stage's."


def _refused(error: Exception, where: str, target: _Target) -> FidelityError:
    return SourceError(
        f"Kafka refuses, or does not answer ({type(error).__name__}).",
        where=f"{where}, to {target.topic}",
        action="Nothing was committed. Check the brokers, the rights to write and to use"
        " transactions, and that the range takes less than their transaction.max.timeout.ms.",
    )


def _client(brokers: str, options: Mapping[str, str]) -> dict[str, Any]:
    """A stage's options in the words of aiokafka's clients. Raises UsageError."""
    try:
        known = settings(options)
    except ValueError as error:
        raise UsageError(str(error), where=brokers) from None
    return {
        "bootstrap_servers": brokers,
        "client_id": known.client_id,
        "request_timeout_ms": int(known.request_timeout * 1000),
        "security_protocol": known.protocol,
        "ssl_context": known.tls,
        "sasl_mechanism": known.mechanism,
        "sasl_plain_username": known.username,
        "sasl_plain_password": known.password,
        "sasl_kerberos_service_name": known.kerberos_service,
        "sasl_kerberos_domain_name": known.kerberos_domain,
    }
