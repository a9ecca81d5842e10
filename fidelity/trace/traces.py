"""Traces: what reading records again told, kept in the store under traces/: once told, never again.

An audit with nothing new so reads no record, and an exact answer outlives retention. An answer
holds ids and counts, never payloads, and belongs to a scope just as both stages saw it. Invariant:
the memory can only spare a trace. An answer that is missing or damaged is traced again, and a store
that cannot be written costs that second reading, nothing else.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from fidelity.errors import StoreError
from fidelity.reconcile.recount import ANSWER, Question
from fidelity.sources.filesystem import filesystem
from fidelity.store import Store
from fidelity.store.delta import Table
from fidelity.store.storage import told

_ENDING = ".parquet"
_HEAD = b"fidelity.trace.traces"
_UNUSABLE = (OSError, pa.ArrowException, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer in a file, and when it was found, microseconds."""

    question: Question
    at: int
    answer: pa.Table


class Traces:
    """A memory of traces in a store; what is noted is kept by `save`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._new: dict[Question, Entry] = {}

    def recall(self, questions: Sequence[Question], /) -> Mapping[Question, pa.Table]:
        """The answers that are kept, as far as they can be read."""
        wanted, found = set(questions), dict[Question, pa.Table]()
        for path in _files(self._store):
            if not wanted:
                break
            for entry in _entries(self._store, path, wanted):
                found[entry.question] = entry.answer
                wanted.discard(entry.question)
        return found

    def note(self, question: Question, answer: pa.Table, /) -> None:
        """Remember an answer."""
        self._new[question] = Entry(question, time.time_ns() // 1000, answer)

    def save(self) -> None:
        """Keep what was noted, as one file; not at all, if the store cannot be written."""
        if self._new:
            with suppress(StoreError, OSError):
                _write(self._store, list(self._new.values()))
            self._new = {}


def tidy(store: Store, holds: Callable[[Sequence[Question]], Sequence[bool]], since: int) -> None:
    """One file, without answers found before a time (microseconds) that hold no more.

    Args:
        store: nothing else needs to keep away from it: who looks for an answer that is just being
            moved traces again.
        holds: whether the scopes are still as the questions say.
        since: younger answers are kept for those who ask what was known then.

    Raises:
        StoreError: it cannot be written; all answers are still there.
    """
    paths = list(_files(store))
    entries = {each.question: each for path in paths for each in _entries(store, path, None)}
    alive = holds(list(entries))
    kept = [
        entry
        for entry, still in zip(entries.values(), alive, strict=True)
        if still or entry.at >= since
    ]
    if len(paths) > 1 or len(kept) < len(entries):
        if kept:
            _write(store, kept)
        _remove(store, paths)


def _folder(store: Store) -> str:
    return f"{store.uri}/traces"


def _files(store: Store) -> Iterator[str]:
    """The files that are kept; none if they cannot be listed."""
    with suppress(OSError):
        for entry in filesystem(store.uri, store.options).children(_folder(store)):
            if entry.path.endswith(_ENDING):
                yield entry.path


def _entries(store: Store, path: str, wanted: set[Question] | None) -> list[Entry]:
    """The wanted entries of a file (None: all); none if it is damaged or gone."""
    try:
        with filesystem(store.uri, store.options).open(path) as source:
            file = pq.ParquetFile(source, page_checksum_verification=True)
            heads = json.loads((file.schema_arrow.metadata or {})[_HEAD])
            questions = [Question(**head["question"]) for head in heads]
            if wanted is not None and wanted.isdisjoint(questions):
                return []
            rows = file.read().select(ANSWER.names).cast(ANSWER)
            return list(_parted(rows, heads, questions, wanted))
    except _UNUSABLE:
        return []


def _parted(
    rows: pa.Table,
    heads: Sequence[Mapping[str, int]],
    questions: Sequence[Question],
    wanted: set[Question] | None,
) -> Iterator[Entry]:
    if sum(head["rows"] for head in heads) != len(rows):
        raise ValueError("rows are missing")
    start = 0
    for head, question in zip(heads, questions, strict=True):
        if wanted is None or question in wanted:
            yield Entry(question, head["at"], rows.slice(start, head["rows"]))
        start += head["rows"]


def _write(store: Store, entries: Sequence[Entry]) -> None:
    heads = [
        {"question": asdict(each.question), "at": each.at, "rows": len(each.answer)}
        for each in entries
    ]
    schema = ANSWER.with_metadata({_HEAD: json.dumps(heads).encode()})
    rows = pa.concat_tables([each.answer for each in entries]).replace_schema_metadata(
        schema.metadata
    )
    out = pa.BufferOutputStream()
    pq.write_table(rows, out, compression="zstd", write_page_checksum=True)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}{_ENDING}"
    with told(store.uri, "written"):
        place = filesystem(store.uri, store.options)
        place.write(f"{_folder(store)}/{name}", out.getvalue().to_pybytes())


def _remove(store: Store, paths: Sequence[str]) -> None:
    place = Table(_folder(store), ANSWER, store.options).filesystem()
    for path in paths:
        with suppress(OSError):
            place.delete_file(path.rstrip("/").rpartition("/")[2])
