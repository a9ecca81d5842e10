"""Kafka's wire, asked synchronously: what topics there are, their offsets, raw record batches.

The connections (TLS, SASL, framing) and protocol classes are aiokafka's. They are not the surface
that it advertises, so only the modules kafka_* use them. They live on an event loop in a thread of
their own: a fetch goes on while the caller decodes, and callers may have a loop themselves.
Nothing is ever written to a cluster, nor a topic made by asking for it.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import difflib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import errors as kafka_errors
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from fidelity.errors import FidelityError, SourceError, UnreadableError
from fidelity.sources.kafka_connections import Address, Again, Connections
from fidelity.sources.kafka_metadata import TopicsRequest, topics_of
from fidelity.sources.kafka_options import Settings, settings

EARLIEST, LATEST = -2, -1
"""What to ask `offsets` for: the first offset that is held, the one after the last."""

_MISSING_SECONDS = 2.0  # a topic that was just made may be unknown for a moment
_LARGEST_BACKOFF = 2.0
_UNKNOWN_TOPIC, _INVALID_TOPIC, _TOPIC_DENIED, _CLUSTER_DENIED = 3, 17, 29, 31
_OUT_OF_RANGE = 1
_PASSING = frozenset({5, 6, 7, 8, 9, 13, 14, 56, 74, 75, 78, 100, 103})
"""Error codes that a leader change or a broker's start explain: the protocol says to retry."""

T = TypeVar("T")


class _Missing(Again):
    """There is no such topic, or not yet."""


class OffsetGone(Exception):  # noqa: N818 -- for the reader to explain
    """The offset asked for lies outside of what the broker holds."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as a cluster tells it. id is "" where brokers have none (before Kafka 2.8)."""

    name: str
    id: str
    leaders: Mapping[int, int]  # partition -> broker


@dataclass(frozen=True, slots=True)
class Fetched:
    """One fetch response of one partition.

    records: whole record batches, the last one perhaps cut off. limit: the offset before which
    everything is there to be read (replicated, and every transaction decided).
    aborted: (producer id, first offset). throttled: an empty answer means a quota, not an end.
    """

    records: bytes
    limit: int
    aborted: Sequence[tuple[int, int]]
    throttled: bool


class Cluster:
    """One cluster, over connections that are kept until `close`.

    Raises SourceError at once for what needs a person (credentials, certificates, no such topic),
    and for the rest after the time that `settings` allow.
    """

    def __init__(self, brokers: str, known: Settings, where: str) -> None:
        self._brokers, self.settings, self._where = brokers, known, where
        self._connections = Connections(brokers, known, where)
        self._known: dict[str, Topic] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="fidelity-kafka", daemon=True
        )
        self._thread.start()

    def topics(self, names: Sequence[str]) -> dict[str, Topic]:
        """The topics of these names, each partition with its leader."""
        return self._call(self._persist(lambda: self._topics(names), self.settings.list_timeout))

    def offsets(
        self, topics: Sequence[Topic], which: int, *, committed: bool = False
    ) -> dict[tuple[str, int], int]:
        """(topic, partition) -> offset. committed: no further than transactions are decided."""
        names = [topic.name for topic in topics]

        async def ask() -> dict[tuple[str, int], int]:
            known = await self._topics(names)
            return await self._offsets(known.values(), which, committed)

        return self._call(self._persist(ask, self.settings.list_timeout))

    def fetch(
        self, topic: Topic, partition: int, offset: int, size: int, *, committed: bool
    ) -> concurrent.futures.Future[Fetched]:
        """Ask for record batches from the one that holds `offset` on; the answer comes later.

        committed: nothing that is not decided, and which transactions were aborted.

        The future raises OffsetGone; UnreadableError if the topic is not the same any more.
        """

        async def ask() -> Fetched:
            return await self._fetch(topic, partition, offset, size, committed)

        work = self._persist(ask, self.settings.read_timeout)
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Close all connections and end the thread."""
        if self._thread.is_alive():
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            if not self._loop.is_running():
                self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _close(self) -> None:
        self._connections.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _persist(self, attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Try until it works, or the time is up: then SourceError tells the last reason."""
        began, wait, reason = time.monotonic(), self.settings.backoff, "no answer"
        while True:
            left = began + seconds - time.monotonic()
            try:
                async with asyncio.timeout(max(left, 0.05)):
                    return await attempt()
            except _Missing as missing:
                reason = str(missing)
                left = min(left, began + _MISSING_SECONDS - time.monotonic())
                if left <= wait:
                    raise await self._no_topic(reason) from None
            except Again as again:
                reason = str(again)
            except TimeoutError:
                left = 0.0
            if left <= wait:
                raise SourceError(
                    f"The brokers at {self._brokers} cannot be read: {reason}. "
                    f"Gave up after {time.monotonic() - began:.0f} s.",
                    where=self._where,
                    action="Check that they run and can be reached from here, and the stage's "
                    "brokers and options (default.api.timeout.ms is how long to go on trying).",
                )
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LARGEST_BACKOFF)

    async def _no_topic(self, name: str) -> SourceError:
        near: list[str] = []
        with contextlib.suppress(Again, TimeoutError, FidelityError):
            async with asyncio.timeout(2):
                everything = await self._connections.ask_any(TopicsRequest(None))
                known = [topic[1] for topic in everything.topics]
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        return SourceError(
            f"There is no topic {name} on {self._brokers}, or these credentials may not see it.",
            where=self._where,
            action=f"Check the stage's topic{'s: ' + hint if hint else '. '}"
            "Nothing is made by an audit.",
        )

    async def _topics(self, names: Sequence[str]) -> dict[str, Topic]:
        answer = await self._connections.ask_any(TopicsRequest(list(names)))
        self._connections.nodes = {node: (host, port) for node, host, port, *_ in answer.brokers}
        found = {}
        for code, name, identity, partitions in topics_of(answer):
            self._check(code, name)
            for partition, (error, leader) in partitions.items():
                if leader < 0:
                    reason = kafka_errors.for_code(error).__name__
                    raise Again(f"{name}/{partition} has no leader ({reason})")
            leaders = {partition: leader for partition, (_, leader) in partitions.items()}
            found[name] = Topic(name, identity, leaders)
        self._known |= found
        return found

    async def _offsets(
        self, topics: Iterable[Topic], which: int, committed: bool
    ) -> dict[tuple[str, int], int]:
        by_node: dict[int, dict[str, list[tuple[int, int]]]] = {}
        for topic in topics:
            for partition, leader in topic.leaders.items():
                at_node = by_node.setdefault(leader, {})
                at_node.setdefault(topic.name, []).append((partition, which))
        found: dict[tuple[str, int], int] = {}
        for node, asked in by_node.items():
            request = OffsetRequest(-1, int(committed), list(asked.items()))
            answer = await self._connections.ask(self._address(node), request)
            for name, partitions in answer.topics:
                for partition, code, _time, offset in partitions:
                    self._check(code, name)
                    found[name, partition] = offset
        return found

    async def _fetch(
        self, topic: Topic, partition: int, offset: int, size: int, committed: bool
    ) -> Fetched:
        known = self._known.get(topic.name)
        if known is None:
            known = (await self._topics([topic.name]))[topic.name]
        if known.id != topic.id:
            raise UnreadableError(
                f"The topic {topic.name} was made anew while it was read.",
                where=self._where,
                action="Scan again: what it holds now is read from its start.",
            )
        wait, asked = self.settings.fetch_wait_ms, [(topic.name, [(partition, offset, size)])]
        request = FetchRequest(wait, 1, size, int(committed), asked)
        try:
            if partition not in known.leaders:
                raise _Missing(f"{topic.name}/{partition}")
            answer = await self._connections.ask(self._address(known.leaders[partition]), request)
            ((name, ((_, code, high, stable, *rest, records),)),) = answer.topics
            self._check(code, name)
        except (Again, TimeoutError):
            self._known.pop(topic.name, None)  # ask anew who leads
            raise
        return Fetched(
            records=records or b"",
            limit=stable if committed else high,
            aborted=(rest[1] if answer.API_VERSION >= 5 else rest[0]) or (),
            throttled=answer.throttle_time_ms > 0,
        )

    def _check(self, code: int, topic: str) -> None:
        """Nothing if the code is 0; else raises what it means."""
        if code == 0:
            return
        if code == _OUT_OF_RANGE:
            raise OffsetGone
        if code == _UNKNOWN_TOPIC:
            raise _Missing(topic)
        error = kafka_errors.for_code(code)
        if code in _PASSING:
            raise Again(f"{topic}: {error.__name__}")
        if code in (_TOPIC_DENIED, _CLUSTER_DENIED):
            what = f"These credentials may not read the topic {topic}."
            action = "Grant the user DESCRIBE and READ on it, or name another user in the options."
        elif code == _INVALID_TOPIC:
            what, action = f"{topic} is no name of a topic.", "Check the stage's topics."
        else:
            what = f"A broker answers {error.__name__} (code {code}) for the topic {topic}."
            action = "Look into the broker's log."
        raise SourceError(what, where=self._where, action=action)

    def _address(self, node: int) -> Address:
        if node not in self._connections.nodes:
            raise Again(f"the leader, broker {node}, is not up")
        return self._connections.nodes[node]


_open: dict[tuple[int, str, str, tuple[tuple[str, str], ...]], Cluster] = {}


def cluster(brokers: str, options: Mapping[str, str], where: str) -> Cluster:
    """The cluster's client, one a process: many small units share its connections.

    Raises SourceError if the options are wrong.
    """
    key = (os.getpid(), brokers, where, tuple(sorted(options.items())))
    if key not in _open:
        try:
            known = settings(options)
        except ValueError as error:
            raise SourceError(f"{error}.", where=where, action="Correct its options.") from None
        _open[key] = Cluster(brokers, known, where)
    return _open[key]


@atexit.register
def close_all() -> None:
    """Close every client of this process."""
    for key in [key for key in _open if key[0] == os.getpid()]:
        _open.pop(key).close()
