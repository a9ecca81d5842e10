"""Kafka's wire, asked synchronously: what topics there are, their offsets, raw record batches.

The connections (TLS, SASL, framing) and protocol classes are aiokafka's. They are not the surface
that it advertises, so they are used here and nowhere else. They live on an event loop in a thread
of their own: a fetch goes on while the caller decodes, and callers may have a loop themselves.
Nothing is ever written to a cluster, nor a topic made by asking for it.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import difflib
import logging
import os
import random
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import cramjam
from aiokafka import errors as kafka_errors
from aiokafka.conn import AIOKafkaConnection, CloseReason, collect_hosts, create_conn
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from fidelity.errors import FidelityError, SourceError, UnreadableError
from fidelity.sources.kafka_metadata import TopicsRequest, topics_of
from fidelity.sources.kafka_options import Settings, settings

EARLIEST, LATEST = -2, -1
"""What to ask `offsets` for: the first offset that is held, the one after the last."""

_CONNECT_SECONDS = 10.0
_MISSING_SECONDS = 2.0  # a topic that was just made may be unknown for a moment
_LARGEST_BACKOFF = 2.0
_UNKNOWN_TOPIC, _INVALID_TOPIC, _TOPIC_DENIED, _CLUSTER_DENIED = 3, 17, 29, 31
_OUT_OF_RANGE = 1
_PASSING = frozenset({5, 6, 7, 8, 9, 13, 14, 56, 74, 75, 78, 100, 103})
"""Error codes that a leader change or a broker's start explain: the protocol says to retry."""

# Failures are told by our own errors; without a handler aiokafka's would go to the terminal.
# Its debug messages hold every request, passwords among them.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())
logging.getLogger("aiokafka").setLevel(logging.WARNING)

T = TypeVar("T")


class _Again(Exception):  # noqa: N818 -- not an error yet
    """May pass by itself."""


class _Missing(_Again):
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


@dataclass(slots=True)
class _State:
    """What is known of the cluster. Only the loop's thread touches it."""

    nodes: dict[int, tuple[str, int]] = field(default_factory=dict)
    connections: dict[tuple[str, int], AIOKafkaConnection] = field(default_factory=dict)
    locks: dict[tuple[str, int], asyncio.Lock] = field(default_factory=dict)
    topics: dict[str, Topic] = field(default_factory=dict)


class Cluster:
    """One cluster, over connections that are kept until `close`.

    Raises SourceError at once for what needs a person (credentials, certificates, no such topic),
    and for the rest after the time that `settings` allow.
    """

    def __init__(self, brokers: str, known: Settings, where: str) -> None:
        self._brokers, self.settings, self._where = brokers, known, where
        try:
            self._seeds = [(host, port) for host, port, _ in collect_hosts(brokers)]
        except ValueError:
            raise SourceError(
                f"The brokers are not written as host:port,host:port: {brokers}.",
                where=where,
                action="Correct the stage's brokers.",
            ) from None
        self._state = _State()
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
        for connection in self._state.connections.values():
            connection.close(reason=CloseReason.SHUTDOWN)
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
            except _Again as again:
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
        with contextlib.suppress(_Again, TimeoutError, FidelityError):
            async with asyncio.timeout(2):
                everything = await self._ask_any(TopicsRequest(None))
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
        answer = await self._ask_any(TopicsRequest(list(names)))
        self._state.nodes = {node: (host, port) for node, host, port, *_ in answer.brokers}
        found = {}
        for code, name, identity, partitions in topics_of(answer):
            self._check(code, name)
            for partition, (error, leader) in partitions.items():
                if leader < 0:
                    reason = kafka_errors.for_code(error).__name__
                    raise _Again(f"{name}/{partition} has no leader ({reason})")
            leaders = {partition: leader for partition, (_, leader) in partitions.items()}
            found[name] = Topic(name, identity, leaders)
        self._state.topics |= found
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
            answer = await self._ask(self._address(node), request)
            for name, partitions in answer.topics:
                for partition, code, _time, offset in partitions:
                    self._check(code, name)
                    found[name, partition] = offset
        return found

    async def _fetch(
        self, topic: Topic, partition: int, offset: int, size: int, committed: bool
    ) -> Fetched:
        known = self._state.topics.get(topic.name)
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
            answer = await self._ask(self._address(known.leaders[partition]), request)
            ((name, ((_, code, high, stable, *rest, records),)),) = answer.topics
            self._check(code, name)
        except (_Again, TimeoutError):
            self._state.topics.pop(topic.name, None)  # ask anew who leads
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
            raise _Again(f"{topic}: {error.__name__}")
        if code in (_TOPIC_DENIED, _CLUSTER_DENIED):
            what = f"These credentials may not read the topic {topic}."
            action = "Grant the user DESCRIBE and READ on it, or name another user in the options."
        elif code == _INVALID_TOPIC:
            what, action = f"{topic} is no name of a topic.", "Check the stage's topics."
        else:
            what = f"A broker answers {error.__name__} (code {code}) for the topic {topic}."
            action = "Look into the broker's log."
        raise SourceError(what, where=self._where, action=action)

    def _address(self, node: int) -> tuple[str, int]:
        if node not in self._state.nodes:
            raise _Again(f"the leader, broker {node}, is not up")
        return self._state.nodes[node]

    async def _ask_any(self, request: Any) -> Any:
        """Ask one broker after the other until one answers."""
        nodes = list(self._state.nodes.values())
        random.shuffle(nodes)
        reasons = []
        for address in dict.fromkeys(nodes + self._seeds):
            try:
                return await self._ask(address, request)
            except _Again as again:
                reasons.append(str(again))
        raise _Again("; ".join(reasons))

    async def _ask(self, address: tuple[str, int], request: Any) -> Any:
        connection = await self._connection(address)
        place = f"{address[0]}:{address[1]}"
        try:
            return await connection.send(request)
        except TimeoutError:
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            seconds = self.settings.request_timeout
            raise _Again(f"{place} did not answer within {seconds:.0f} s") from None
        except (kafka_errors.IncompatibleBrokerVersion, NotImplementedError):
            raise SourceError(
                f"The broker at {place} speaks no version of Kafka's protocol that is known here.",
                where=self._where,
                action="Kafka 0.11 to 4.x can be read.",
            ) from None
        except (kafka_errors.KafkaError, OSError):
            raise _Again(self._closed(place)) from None

    async def _connection(self, address: tuple[str, int]) -> AIOKafkaConnection:
        state = self._state
        async with state.locks.setdefault(address, asyncio.Lock()):
            there = state.connections.get(address)
            if there is None or not there.connected():
                there = state.connections[address] = await self._connect(*address)
            return there

    async def _connect(self, host: str, port: int) -> AIOKafkaConnection:
        known, place = self.settings, f"{host}:{port}"
        try:
            async with asyncio.timeout(min(_CONNECT_SECONDS, known.request_timeout)):
                return await create_conn(
                    host,
                    port,
                    client_id=known.client_id,
                    request_timeout_ms=int(known.request_timeout * 1000),
                    security_protocol=known.protocol,
                    ssl_context=known.tls,
                    sasl_mechanism=known.mechanism,
                    sasl_plain_username=known.username,
                    sasl_plain_password=known.password,
                    sasl_kerberos_service_name=known.kerberos_service,
                    sasl_kerberos_domain_name=known.kerberos_domain,
                )
        except TimeoutError:
            raise _Again(f"{place} does not answer") from None
        except ssl.SSLError as error:
            raise self._refused(f"TLS with {place} fails ({error.reason}).", _TLS_ADVICE) from None
        except socket.gaierror:
            raise _Again(f"the host name {host} is not known") from None
        except ConnectionRefusedError:
            raise _Again(f"nothing listens on {place}") from None
        except (ConnectionError, kafka_errors.KafkaConnectionError):
            raise _Again(self._closed(place)) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise _Again(f"{place} cannot be reached ({reason})") from None
        except (kafka_errors.KafkaError, ValueError, AssertionError) as error:
            # Their text is left out: it is the server's, and may repeat what it was told.
            what = f"{place} refuses the log-in by {known.mechanism} ({type(error).__name__})."
            raise self._refused(what, _SASL_ADVICE) from None

    def _closed(self, place: str) -> str:
        protocol = self.settings.protocol
        return (
            f"{place} closed the connection (if it always does, that port may want something else "
            f"than {protocol}, whether TLS or SASL: option security.protocol)"
        )

    def _refused(self, what: str, action: str) -> SourceError:
        return SourceError(what, where=self._where, action=action)


_TLS_ADVICE = (
    "Check that the port speaks TLS (option security.protocol), and ssl.ca.location if the "
    "certificate is not trusted."
)
_SASL_ADVICE = "Check the options sasl.mechanism, sasl.username and sasl.password."


def legacy_records(
    batch: bytes, check: bool, where: str
) -> Iterator[tuple[int, int, bytes | None, bytes | None]]:
    """(offset, time in ms or -1, key, value) of the records of a v0 or v1 message.

    Raises UnreadableError for a broken message.
    """
    try:
        message = MemoryRecords(batch).next_batch()
        if message is None or (check and not message.validate_crc()):
            raise ValueError
        for record in message:
            time_ms = -1 if record.timestamp is None else record.timestamp
            yield record.offset, time_ms, record.key, record.value
    except _BROKEN_MESSAGE:
        raise UnreadableError(
            "A message of Kafka's old format is broken.",
            where=where,
            action="Check the brokers' disks; a replica may still hold it. Then scan again.",
        ) from None


_BROKEN_MESSAGE = (
    kafka_errors.KafkaError,
    cramjam.DecompressionError,
    ValueError,
    IndexError,
    AssertionError,
    EOFError,
    OSError,
    struct.error,
    zlib.error,
)


def sample_batch(*, compressed: bool) -> bytes:
    """A record batch with one record that has a key, a value and a header."""
    builder = DefaultRecordBatchBuilder(2, 3 if compressed else 0, 0, -1, -1, -1, 1 << 16)
    builder.append(0, 0, b"key", b"value", [("fid", b"\0\0\0\1")])
    return bytes(builder.build())


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
