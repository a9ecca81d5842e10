"""Which offsets of a stage's topics are new, and which are gone before they could be read.

Per partition: what the topic holds, minus what the ledger has, cut into units. What the ledger
lacks and the topic no longer holds becomes a note, with the event times that it may have had.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fidelity.config import Stage
from fidelity.errors import UnreadableError
from fidelity.sources.kafka_batches import BatchLayout
from fidelity.sources.kafka_client import EARLIEST, LATEST, Cluster, OffsetGone, Topic, cluster
from fidelity.sources.planning import Plan
from fidelity.units import LedgerRow, Status, Unit

UNIT_OFFSETS = 2_000_000
"""No unit is larger; a larger range is cut into even parts."""

_RECORD_BYTES = 200  # a guess, until the ledger knows better
_MILLISECOND = 1_000
_LOOK_BYTES, _LOOKS = 1 << 16, 64

Range = tuple[int, int]


def plan(stage: Stage, ledger: list[LedgerRow], now: int, settle: int) -> Plan:
    """The units that are new at the stage, and notes on what can no longer be read.

    A range that the ledger has as unreadable is planned again under the same key. `now` and
    `settle` are microseconds. Raises SourceError if the topics cannot be listed.
    """
    there = cluster(stage.brokers, stage.options, f"stage {stage.name}")
    topics = there.topics(stage.topics)
    held = _held(there, list(topics.values()))
    by_place: dict[tuple[str, int], list[LedgerRow]] = {place: [] for place in held}
    for row in ledger:
        if row.unit.kind == "kafka" and row.unit.path in topics:
            by_place.setdefault((row.unit.path, row.unit.partition), []).append(row)
    found = Plan()
    for (name, number), rows in sorted(by_place.items()):
        part = Partition(
            stage=stage.name,
            topic=name,
            number=number,
            version=topics[name].id,
            held=held.get((name, number), Held(0, 0, 0)),
            rows=rows,
            now=now,
            settle=settle,
            look=_Look(there, topics[name], number),
        )
        found.units.extend(part.units())
        found.rows.extend(part.notes())
    return found


@dataclass(frozen=True, slots=True)
class Held:
    """Offsets of a partition now: [first, last) can be read, [last, high) is not decided yet."""

    first: int
    last: int
    high: int


def _held(there: Cluster, topics: list[Topic]) -> dict[tuple[str, int], Held]:
    committed = there.settings.committed
    first = there.offsets(topics, EARLIEST)
    high = there.offsets(topics, LATEST)  # before `last`, so that no decision in between shows
    last = there.offsets(topics, LATEST, committed=True) if committed else high
    found = {}
    for place, start in first.items():
        end = max(start, last[place])
        found[place] = Held(start, end, max(end, high[place]))
    return found


@dataclass(frozen=True, slots=True)
class Partition:
    """What a partition holds now, and what the ledger says of it.

    look: asked for [start, end), tells when the first record there arrived (microseconds, -1 if
    there is none), and whether that is the broker's time or the producer's.
    """

    stage: str
    topic: str
    number: int
    version: str
    held: Held
    rows: list[LedgerRow]
    now: int
    settle: int
    look: Callable[[int, int], tuple[int, bool]]

    def units(self) -> list[Unit]:
        """What is to be read, each range cut evenly."""
        taken = {row.unit.key for row in self._ours() if row.status == "read"}
        found = []
        for start, end in self._unread():
            for one in _cut(max(start, self.held.first), end):
                unit = self._unit(*one)
                while unit.key in taken:  # offsets that a truncated log has given out again
                    unit = self._unit(*one, mark=unit.key[len(self._key(one[0])) :] + "~")
                found.append(unit)
        return found

    def notes(self) -> list[LedgerRow]:
        """What was there, or may have been, and can no longer be read."""
        return [*self._trimmed(), *self._undecided(), *self._truncated(), *self._made_anew()]

    def _ours(self) -> list[LedgerRow]:
        """The rows of the topic as it is now; brokers that were too old gave it no id."""
        return [
            row
            for row in self.rows
            if not (row.unit.version and self.version) or row.unit.version == self.version
        ]

    def _consumed(self) -> list[Range]:
        """The ranges that need no reading, in order of their start."""
        found: list[Range] = []
        for row in sorted(self._ours(), key=lambda row: row.commit):
            start, end = row.unit.start, row.unit.end
            if row.status == "truncated":
                found = [(a, min(b, start)) for a, b in found]
            elif row.status in ("read", "trimmed"):
                found.append((start, end))
        return sorted((a, b) for a, b in found if a < b)

    def _unread(self) -> list[Range]:
        """[0, last) without what is consumed, cut where unreadable units begin and end.

        So the unit that is planned anew, or the note in its place, supersedes the unreadable one.
        """
        edges = {
            edge
            for row in self._ours()
            if row.status == "unreadable"
            for edge in (row.unit.start, row.unit.end)
        }
        found, at = [], 0
        for start, end in [*self._consumed(), (self.held.last, self.held.last)]:
            cuts = sorted({at, start} | {edge for edge in edges if at < edge < start})
            found += [pair for pair in itertools.pairwise(cuts) if at < start]
            at = max(at, end)
        return found

    def _trimmed(self) -> Iterator[LedgerRow]:
        for start, end in self._unread():
            if start < self.held.first:
                end = min(end, self.held.first)
                scanned = "no scan had read" if self.rows else "were there before the first scan"
                yield self._note(
                    self._unit(start, end),
                    "trimmed",
                    f"Retention removed offsets {start} to {end}, which {scanned}.",
                    self._may_be_of(start, self._ours(), self._before_first()),
                )

    def _undecided(self) -> Iterator[LedgerRow]:
        """A transaction that is open for longer than records may be on their way.

        Nothing after its start can be read, be it committed or not, and none of that is lost.
        """
        start, end = self.held.last, self.held.high
        if start == end:
            return
        since, _ = self.look(start, end)
        if 0 <= since < self.now - self.settle:
            yield self._note(
                self._unit(start, end),
                "unreadable",
                f"A transaction that is still open holds back offsets {start} to {end}: end it "
                "(kafka-transactions.sh find-hanging), or wait for its time-out.",
                (max(since - self.settle, 0), self.now + 1),
            )

    def _truncated(self) -> Iterator[LedgerRow]:
        reached = max((end for _, end in self._consumed()), default=0)
        end = self.held.high
        if end < reached:
            yield self._note(
                self._unit(end, reached, mark="~cut"),
                "truncated",
                f"The log ends at offset {end}, and was read up to {reached} before: a "
                "leader that lacked records took over, or the topic was made anew.",
                self._may_be_of(reached, self._ours(), -1),
            )

    def _made_anew(self) -> Iterator[LedgerRow]:
        if not self.version:
            return
        known = {row.unit.key for row in self.rows}
        for old in sorted({row.unit.version for row in self.rows} - {"", self.version}):
            rows = [row for row in self.rows if row.unit.version == old]
            reached = max(row.unit.end for row in rows)
            unit = Unit(
                stage=self.stage,
                key=f"{self.topic}/{self.number}@{old}:~anew",
                kind="kafka",
                path=self.topic,
                start=reached,
                end=reached,
                partition=self.number,
                version=old,
            )
            if unit.key not in known:
                yield self._note(
                    unit,
                    "truncated",
                    f"The topic was made anew: what the old one held from offset {reached} on "
                    "was not seen, what was read before stays in the books.",
                    self._may_be_of(reached, rows, self._before_first()),
                )

    def _before_first(self) -> int:
        """A time before which all had arrived that is older than the first record; -1: unknown.

        A time of creation is the producers' own, and they are not in step: `settle` is added.
        """
        arrival, by_broker = self.look(self.held.first, self.held.last)
        return -1 if arrival < 0 else arrival + _MILLISECOND + (0 if by_broker else self.settle)

    def _may_be_of(self, offset: int, rows: list[LedgerRow], before: int) -> Range:
        """The event times that records from `offset` on may have, if they arrived `before`.

        They arrived after the last record that was read before them, and no record is later than
        `settle`; or than that record was, since a backfill brings old records. Times that
        contradict each other tell nothing: then all up to now.
        """
        earlier = [
            row
            for row in rows
            if row.status == "read" and row.unit.end <= offset and row.tally.last_arrival >= 0
        ]
        lower = -1
        if earlier:
            latest = max(earlier, key=lambda row: row.unit.end)
            seen = latest.tally.last_arrival
            if latest.tally.last_event >= 0:
                seen = min(seen, latest.tally.last_event)
            lower = max(seen - self.settle, 0)
        upper = before if before >= 0 else self.now + 1
        return (lower, upper) if lower < upper else (-1, max(upper, self.now + 1))

    def _key(self, start: int) -> str:
        return f"{self.topic}/{self.number}@{self.version}:{start}"

    def _unit(self, start: int, end: int, mark: str = "") -> Unit:
        return Unit(
            stage=self.stage,
            key=self._key(start) + mark,
            kind="kafka",
            path=self.topic,
            start=start,
            end=end,
            partition=self.number,
            version=self.version,
            size=(end - start) * self._record_bytes(),
        )

    def _record_bytes(self) -> int:
        records = sum(row.tally.records for row in self.rows)
        return sum(row.tally.bytes for row in self.rows) // records if records else _RECORD_BYTES

    def _note(self, unit: Unit, status: Status, reason: str, unseen: Range) -> LedgerRow:
        return LedgerRow(
            unit=unit,
            status=status,
            scan="",
            scanned_at=self.now,
            spec="",
            reason=reason,
            unseen_from=unseen[0],
            unseen_to=unseen[1],
        )


def _cut(start: int, end: int) -> Iterator[Range]:
    parts = -(-(end - start) // UNIT_OFFSETS)
    for i in range(parts):
        yield (
            start + (end - start) * i // parts,
            start + (end - start) * (i + 1) // parts,
        )


@dataclass(frozen=True, slots=True)
class _Look:
    """Looks at the first record from an offset on, when asked to."""

    there: Cluster
    topic: Topic
    number: int

    def __call__(self, start: int, end: int) -> tuple[int, bool]:
        layout = BatchLayout(f"{self.topic.name}/{self.number}", [], keys=False, check=False)
        size = _LOOK_BYTES
        for _ in range(_LOOKS):
            if start >= end:
                break
            try:
                # Undecided records tell the time as well as others.
                pending = self.there.fetch(self.topic, self.number, start, size, committed=False)
                records = pending.result().records
                whole, following = layout.next_offset(records)
                for lines in layout.lines(records, whole, start, end, []):
                    return int(lines.arrivals[0]), layout.append_time
            except (OffsetGone, UnreadableError):
                break
            start, size = max(start, following), 2 * size
        return -1, False
