"""Which offsets are new, which are gone, and what a note says of the unseen."""

import dataclasses
import time

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from hypothesis import given
from hypothesis import strategies as st
from kafka_records import (
    as_read,
    fill,
    planned,
    producer,
    read_bulk,
    read_unit,
    stage_of,
    until,
    until_decided,
)
from servers import MakeTopic, create_topic

from examples.brokers import Broker
from fidelity.errors import UnreadableError
from fidelity.sources import kafka as source
from fidelity.sources.kafka_plan import UNIT_OFFSETS, Held, Partition
from fidelity.units import LedgerRow, Status, Tally, Unit

NOW, SETTLE = 10_000_000_000, 60_000_000


def part(
    first: int, last: int, rows: list[LedgerRow], version: str = "v1", high: int = -1
) -> Partition:
    def look(start: int, end: int) -> tuple[int, bool]:
        return 5_000_000_000 - 1_000, True

    held = Held(first, last, max(last, high))
    return Partition("s", "t", 0, version, held, rows, NOW, SETTLE, look)


def row(
    start: int, end: int, status: Status = "read", version: str = "v1", **changes: int
) -> LedgerRow:
    key = f"t/0@{version}:{start}"
    unit = Unit("s", key, "kafka", "t", start, end, partition=0, version=version)
    tally = Tally(last_arrival=changes.pop("arrival", -1))
    return LedgerRow(unit, status, "scan", 0, "spec", tally=tally, **changes)


def ranges(units: list[Unit]) -> list[tuple[int, int]]:
    return [(unit.start, unit.end) for unit in units]


def test_a_large_range_is_cut_evenly() -> None:
    units = part(0, UNIT_OFFSETS + 2, []).units()
    assert ranges(units) == [(0, UNIT_OFFSETS // 2 + 1), (UNIT_OFFSETS // 2 + 1, UNIT_OFFSETS + 2)]
    assert max(unit.end - unit.start for unit in part(0, 10**8, []).units()) <= UNIT_OFFSETS


def test_what_was_read_is_not_read_again() -> None:
    assert ranges(part(0, 150, [row(0, 100)]).units()) == [(100, 150)]
    assert part(0, 100, [row(0, 100)]).units() == []


def test_an_unreadable_unit_is_planned_again_under_its_key_and_nothing_else() -> None:
    rows = [row(0, 100), row(100, 200, "unreadable"), row(200, 300)]
    units = part(0, 350, rows).units()
    assert ranges(units) == [(100, 200), (300, 350)]
    assert units[0].key == rows[1].unit.key


def test_neighbouring_unreadable_units_keep_their_own_keys() -> None:
    rows = [row(0, 100, "unreadable"), row(100, 200, "unreadable")]
    assert [unit.key for unit in part(0, 300, rows).units()] == [
        "t/0@v1:0",
        "t/0@v1:100",
        "t/0@v1:200",
    ]


def test_trimmed_offsets_are_a_note_that_bounds_their_event_times() -> None:
    one = part(150, 300, [row(0, 100, arrival=4_000_000_000)])
    assert ranges(one.units()) == [(150, 300)]
    (note,) = one.notes()
    assert (note.status, note.unit.start, note.unit.end) == ("trimmed", 100, 150)
    assert note.unseen_from == 4_000_000_000 - SETTLE
    assert note.unseen_to == 5_000_000_000


def test_offsets_gone_before_the_first_scan_are_a_note_without_a_lower_bound() -> None:
    (note,) = part(150, 300, []).notes()
    assert (note.unit.start, note.unit.end, note.unseen_from) == (0, 150, -1)


def test_times_that_contradict_each_other_bound_nothing_but_the_end() -> None:
    one = part(150, 300, [row(0, 100, arrival=9_000_000_000)])
    (note,) = one.notes()
    assert note.unseen_from == -1
    assert note.unseen_to > NOW


def test_a_note_is_not_made_twice() -> None:
    first = part(150, 300, [row(0, 100)])
    later = part(150, 300, [row(0, 100), *first.notes()])
    assert later.notes() == []
    assert ranges(later.units()) == [(150, 300)]


def test_a_trimmed_unreadable_unit_is_superseded_by_its_note() -> None:
    rows = [row(0, 100, "unreadable"), row(100, 200, "unreadable")]
    one = part(150, 200, rows)
    assert [note.unit.key for note in one.notes()] == ["t/0@v1:0", "t/0@v1:100"]
    assert ranges(one.units()) == [(150, 200)]


def test_a_transaction_that_hangs_makes_what_it_holds_back_unreadable_until_it_ends() -> None:
    rows = [row(0, 80)]
    one = part(0, 100, rows, high=150)
    assert ranges(one.units()) == [(80, 100)]
    (note,) = one.notes()
    assert (note.status, note.unit.start, note.unit.end) == ("unreadable", 100, 150)
    assert note.unseen_from == 5_000_000_000 - 1_000 - SETTLE
    rows += [row(80, 100), note]
    assert [again.unit.key for again in part(0, 100, rows, high=180).notes()] == [note.unit.key]
    (unit, after) = part(0, 180, rows).units()
    assert (unit.key, unit.end, after.end) == (note.unit.key, 150, 180)


def test_a_log_that_ends_before_what_was_read_is_a_note_and_is_read_on_from_there() -> None:
    rows = [row(0, 100, commit=1), row(100, 200, commit=2)]
    one = part(0, 100, rows)
    assert one.units() == []
    (note,) = one.notes()
    assert note.status == "truncated"
    rows.append(dataclasses.replace(note, commit=3))
    assert part(0, 100, rows).notes() == []
    (unit,) = part(0, 130, rows).units()
    assert (unit.start, unit.end) == (100, 130)
    assert unit.key not in {one.unit.key for one in rows}  # what was read there stays
    rows.append(LedgerRow(unit, "read", "scan", 0, "spec", commit=4))
    assert ranges(part(0, 140, rows).units()) == [(130, 140)]


def test_a_topic_made_anew_is_a_note_and_is_read_from_its_start() -> None:
    rows = [row(0, 100, arrival=4_000_000_000)]
    one = part(0, 50, rows, version="v2")
    assert ranges(one.units()) == [(0, 50)]
    (note,) = one.notes()
    assert note.status == "truncated"
    assert "made anew" in note.reason
    assert note.unit.key not in {row.unit.key for row in rows}  # the old units stay in the books
    assert part(0, 50, [*rows, note], version="v2").notes() == []


def test_a_ledger_from_brokers_without_topic_ids_goes_on() -> None:
    assert ranges(part(0, 50, [row(0, 30, version="")]).units()) == [(30, 50)]
    assert ranges(part(0, 50, [row(0, 30)], version="").units()) == [(30, 50)]


STATUSES = st.sampled_from(["read", "unreadable", "trimmed"])


@given(
    steps=st.lists(st.tuples(STATUSES, st.integers(1, 50)), max_size=8),
    first=st.integers(0, 400),
    grown=st.integers(0, 100),
)
def test_units_and_notes_cover_just_what_the_ledger_lacks(
    steps: list[tuple[Status, int]], first: int, grown: int
) -> None:
    rows, at = [], 0
    for status, size in steps:
        rows.append(row(at, at + size, status))
        at += size
    last = max(at + grown, first)
    one = part(min(first, last), last, rows)
    settled = [r for r in rows if r.status != "unreadable"]
    new = [*ranges(one.units()), *((note.unit.start, note.unit.end) for note in one.notes())]
    held = sorted([*new, *ranges([r.unit for r in settled])])
    assert [offset for start, end in held for offset in range(start, end)] == list(range(last))
    keys = {unit.key for unit in one.units()} | {note.unit.key for note in one.notes()}
    assert {r.unit.key for r in rows if r.status == "unreadable"} <= keys
    assert not keys & {r.unit.key for r in settled}


@pytest.mark.servers
def test_a_second_plan_holds_only_what_is_new(kafka: Broker, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=2)
    stage = stage_of(kafka.address, topic)
    fill(kafka.address, topic, 100)
    ledger = [as_read(unit, read_unit(unit, stage)) for unit in planned(stage)]
    assert planned(stage, ledger) == []
    fill(kafka.address, topic, 50)
    again = planned(stage, ledger)
    assert sum(unit.end - unit.start for unit in again) == 50
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(30)
    sender = producer(kafka.address)
    sender.produce(topic, value=b"x", partition=3)
    sender.flush(30)
    until(lambda: any(unit.partition == 3 for unit in planned(stage, ledger)), "partition 3")


@pytest.mark.servers
def test_several_topics_of_a_stage_are_all_read(kafka: Broker, make_topic: MakeTopic) -> None:
    topics = [make_topic(), make_topic()]
    for n, topic in enumerate(topics):
        fill(kafka.address, topic, 10 * (n + 1))
    assert len(read_bulk(stage_of(kafka.address, *topics))) == 30


@pytest.mark.servers
def test_deleted_records_are_told_with_the_times_that_they_had(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    stage = stage_of(kafka.address, topic)
    sender, begin = producer(kafka.address), 1_700_000_000_000
    for n in range(50):
        sender.produce(topic, value=b"x", timestamp=begin + n * 1000)
    sender.flush(30)
    ledger = [as_read(unit, read_unit(unit, stage)) for unit in planned(stage)]
    for n in range(50, 100):
        sender.produce(topic, value=b"x", timestamp=begin + n * 1000)
    sender.flush(30)
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for future in admin.delete_records([TopicPartition(topic, 0, 80)]).values():
        future.result(30)
    plan = source.plan(stage, ledger, time.time_ns() // 1000, settle=5_000_000)
    assert ranges(plan.units) == [(80, 100)]
    (note,) = plan.rows
    assert (note.status, note.unit.start, note.unit.end) == ("trimmed", 50, 80)
    assert note.unseen_from == (begin + 44_000) * 1000
    assert note.unseen_to == (begin + 80_000 + 5_000) * 1000 + 1000
    (first_scan,) = source.plan(stage, [], time.time_ns() // 1000, settle=0).rows
    assert (first_scan.unit.start, first_scan.unit.end, first_scan.unseen_from) == (0, 80, -1)


@pytest.mark.servers
def test_a_topic_deleted_and_made_again_is_noticed(kafka: Broker, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=2)
    stage = stage_of(kafka.address, topic)
    fill(kafka.address, topic, 100)
    units = planned(stage)
    ledger = [as_read(unit, read_unit(unit, stage)) for unit in units]
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.delete_topics([topic])[topic].result(30)
    until(lambda: topic not in admin.list_topics(timeout=10).topics, "deletion")
    create_topic(kafka, 1, topic)
    fill(kafka.address, topic, 200)
    plan = source.plan(stage, ledger, time.time_ns() // 1000, settle=0)
    assert [(unit.start, unit.end) for unit in plan.units] == [(0, 200)]
    assert [note.unit.partition for note in plan.rows] == [0, 1]
    assert all(note.status == "truncated" and "made anew" in note.reason for note in plan.rows)
    assert planned(stage, [*ledger, *plan.rows, as_read(plan.units[0], [])]) == []
    with pytest.raises(UnreadableError, match="made anew"):
        read_unit(units[0], stage)


@pytest.mark.servers
def test_a_hanging_transaction_is_unreadable_and_one_in_flight_is_not(
    kafka: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    stage = stage_of(kafka.address, topic)
    fill(kafka.address, topic, 10)
    sender = producer(kafka.address, transactional_id=topic)
    sender.init_transactions(30)
    sender.begin_transaction()
    sender.produce(topic, value=b"undecided", timestamp=1_700_000_000_000)
    sender.flush(30)
    fill(kafka.address, topic, 5)
    now = time.time_ns() // 1000
    (note,) = source.plan(stage, [], now, settle=60_000_000).rows
    assert (note.status, note.unit.start, note.unit.end) == ("unreadable", 10, 16)
    assert note.unseen_from == (1_700_000_000_000 - 60_000) * 1000
    assert source.plan(stage, [], 1_700_000_030_000_000, settle=60_000_000).rows == []
    sender.commit_transaction(30)
    until_decided(kafka.address, topic)
    plan = source.plan(stage, [note], now, settle=60_000_000)
    assert plan.rows == []
    assert [record.value for unit in plan.units for record in read_unit(unit, stage)].count(
        b"undecided"
    ) == 1
    assert note.unit.key in {unit.key for unit in plan.units}
