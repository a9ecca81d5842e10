"""Kafka topics, read in bulk: the offset range of a unit becomes Lines.

Invariant: a reader delivers every committed record of [start, end) once, or raises.
"""

import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future

from fidelity.config import Stage
from fidelity.errors import UnreadableError
from fidelity.records import Lines
from fidelity.sources.ahead import Ahead
from fidelity.sources.kafka_batches import BatchLayout, Unpacked, warm
from fidelity.sources.kafka_client import EARLIEST, Fetched, OffsetGone, Topic, cluster
from fidelity.sources.kafka_plan import plan
from fidelity.sources.planning import Wanted
from fidelity.units import Unit

__all__ = ["KafkaReader", "plan", "read", "warm"]

_LARGEST_FETCH = 1 << 30
_QUIET_FETCHES = 2  # empty answers in a row that show that no records are left


def read(unit: Unit, stage: Stage, wanted: Wanted) -> "KafkaReader":
    """The unit's committed records.

    Raises (here or while iterating):
        UnreadableError: the records are broken or gone, or the topic was made anew.
        SourceError: the brokers cannot be reached, or refuse.
    """
    return KafkaReader(unit, stage, wanted)


class KafkaReader:
    """An iterator of Lines; while the caller works on them, three threads prepare the next ones:

    one receives, one checks and decompresses, one lays out.

    end: the unit's end, once exhausted. A range that turns out to hold no records (compacted,
    aborted) is read, too.
    """

    def __init__(self, unit: Unit, stage: Stage, wanted: Wanted) -> None:
        self._range = _Range(unit, stage, wanted)
        self._lines = Ahead(self._range.lines())

    @property
    def end(self) -> int:
        """How far it was read: nothing counts before all of it was."""
        return self._range.end

    def __iter__(self) -> Iterator[Lines]:
        return self

    def __next__(self) -> Lines:
        while not len(lines := next(self._lines)):
            pass
        return lines

    def close(self) -> None:
        """Stop reading; nothing is asked for any more."""
        self._range.cancel()
        self._lines.close()


class _Range:
    """A unit's offsets. Two fetches are never under way at once, but one is while we unpack."""

    def __init__(self, unit: Unit, stage: Stage, wanted: Wanted) -> None:
        self.end = unit.start
        self._unit = unit
        where = f"stage {stage.name}"
        self._where = f"{where}: {unit.path}/{unit.partition}"
        self._cluster = cluster(stage.brokers, stage.options, where)
        self._topic = self._same_topic()
        known = self._cluster.settings
        self._size, self._committed = known.fetch_bytes, known.committed
        self._patience = known.read_timeout
        self._quiet, self._deadline = 0, time.monotonic() + self._patience
        self._layout = BatchLayout(
            self._where, wanted.headers, keys=wanted.key, check=known.check_crcs
        )
        self._pending = self._ask(unit.start)

    def cancel(self) -> None:
        """Wait for no answer any more."""
        self._pending.cancel()

    def lines(self) -> Generator[Lines]:
        """All of it; Lines are left alone until those after the next are made.

        Some may be empty: buffers are used again when the next Lines are asked for, not before.
        """
        for unpacked in Ahead(self._unpacked()):
            yield self._layout.laid_out(unpacked)

    def _unpacked(self) -> Generator[Unpacked]:
        position, end = self._unit.start, self._unit.end
        try:
            while position < end:
                fetched = self._answer(position)
                size, following = self._layout.next_offset(fetched.records)
                if following <= position:
                    if self._is_over(fetched, following, position):
                        break
                    self._pending = self._ask(position)
                    continue
                begun, position = position, following
                if position < end:
                    self._pending = self._ask(position)
                yield from self._layout.unpacked(fetched.records, size, begun, end, fetched.aborted)
                self._quiet, self._deadline = 0, time.monotonic() + self._patience
        finally:
            self._pending.cancel()
        self._same_topic()
        self.end = end

    def _ask(self, position: int) -> Future[Fetched]:
        number, committed = self._unit.partition, self._committed
        return self._cluster.fetch(self._topic, number, position, self._size, committed=committed)

    def _answer(self, position: int) -> Fetched:
        try:
            return self._pending.result()
        except OffsetGone:
            raise self._gone(position) from None

    def _is_over(self, fetched: Fetched, following: int, position: int) -> bool:
        """What an answer without a whole new batch means: no records are left, or ask again.

        Raises UnreadableError if asking again cannot help.
        """
        if following >= 0:
            raise self._unreadable(
                f"The broker answers with records before offset {position} only.",
                "Look into the broker's log.",
            )
        if fetched.records:  # not even one batch fits
            self._size *= 2
            if self._size > _LARGEST_FETCH:
                raise self._unreadable(
                    f"The record batch at offset {position} is larger than 1 GiB.", ""
                )
            return False
        if fetched.limit >= self._unit.end and not fetched.throttled:
            self._quiet += 1
            return self._quiet >= _QUIET_FETCHES
        if time.monotonic() > self._deadline:
            raise self._unreadable(
                f"The log ends at offset {fetched.limit}, before {self._unit.end}, "
                "where it ended when the scan was planned.",
                "A leader that lacks records may have taken over: see the brokers' logs.",
            )
        time.sleep(0.05)
        return False

    def _gone(self, position: int) -> UnreadableError:
        first = self._cluster.offsets([self._topic], EARLIEST)[
            self._unit.path, self._unit.partition
        ]
        if first > position:
            return self._unreadable(
                f"Retention removed offsets {position} to {first} before they could be read.",
                "Scan again: what is left is read. Scan more often, or keep records longer.",
            )
        return self._unreadable(
            f"The log ends before offset {position}, though it went on when the scan was planned.",
            "The topic may have been made anew, or a leader that lacks records took over.",
        )

    def _same_topic(self) -> Topic:
        """The topic, if it is the one that was planned. Raises UnreadableError if it is not."""
        topic = self._cluster.topics([self._unit.path])[self._unit.path]
        if self._unit.version and topic.id and topic.id != self._unit.version:
            raise self._unreadable(
                "The topic was made anew since the scan was planned.",
                "Scan again: what it holds now is read from its start.",
            )
        return topic

    def _unreadable(self, what: str, action: str) -> UnreadableError:
        return UnreadableError(what, where=self._where, action=action)
