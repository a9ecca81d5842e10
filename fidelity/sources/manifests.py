"""Manifests as a source: a producer's own counts, read as if its records themselves were read.

{"manifest":1,"stream","origin","start","end","runs":[[first,count],...],"bytes"} -> Records
Invariant: a line yields one record for each sequence number it claims, with the id that its
producer gave it, at the start of its window; one that is not understood yields one flawed record.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from fidelity.errors import UnreadableError
from fidelity.identity import LONGEST_NAME, producer_seed, xxh32_of_u32
from fidelity.records import Lines, Records
from fidelity.units import FLAWS

if TYPE_CHECKING:
    from fidelity.decode.names import Names

CHUNK = 1 << 18
"""Records a batch holds at most."""

_VERSION = 1
_RUNS_AT_ONCE = 1 << 16
_LONGEST_LINE = 16 << 20  # as Python objects a line takes some ten times its bytes
_MODULUS = 1 << 32
_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_MALFORMED, _UNSTAMPED, _UNTIMED, _UNATTRIBUTED, _FUTURE = range(1, len(FLAWS) + 1)


class _FlawError(Exception):
    """The line says nothing that can be counted; `args[0]` is the flaw's code."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one line says. A flawed one has one run of one record."""

    runs: list[tuple[int, int]]
    size: int
    position: int
    arrival: int
    flaw: int = 0
    stream: str = ""
    origin: str = ""
    time: int = 0


@dataclass(slots=True)
class _Batch:
    """Claims that are expanded together."""

    claims: list[_Claim] = field(default_factory=list)
    runs: int = 0

    def add(self, claim: _Claim) -> None:
        self.claims.append(claim)
        self.runs += len(claim.runs)


def manifest_records(lines: Lines, names: "Names", window: int) -> Iterator[Records]:
    """The records that manifest lines claim, at most CHUNK at a time.

    Args:
        lines: manifest lines.
        names: interns their streams and origins.
        window: the pipeline's window, microseconds; every line's window must lie inside one.

    Raises:
        UnreadableError: a line's window does not fit, a line is too long, or its version is newer
            than this program: what it claims is not known, so nothing of the unit may count.
    """
    batch = _Batch()
    for row in range(len(lines)):
        batch.add(_claim(lines, row, window))
        if batch.runs >= _RUNS_AT_ONCE:
            yield from _expanded(batch.claims, names)
            batch = _Batch()
    if batch.claims:
        yield from _expanded(batch.claims, names)


def _claim(lines: Lines, row: int, window: int) -> _Claim:
    position, arrival = int(lines.positions[row]), int(lines.arrivals[row])
    start, end = int(lines.values.starts[row]), int(lines.values.ends[row])
    try:
        if start == -1:
            raise _FlawError(_UNSTAMPED)
        if start < 0:
            raise _FlawError(_MALFORMED)
        if end - start > _LONGEST_LINE:
            _unreadable(position, "A manifest line is longer than 16 MiB.", "Split it: lines add.")
        said = _object(lines.buffer[start:end].tobytes())
        return _understood(said, position, arrival, window)
    except _FlawError as flaw:
        return _Claim([(0, 1)], int(lines.sizes[row]), position, arrival, flaw.args[0])


def _object(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise _FlawError(_MALFORMED) from None
    if not isinstance(said, dict):
        raise _FlawError(_MALFORMED)
    return said


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _understood(said: dict[str, Any], position: int, arrival: int, window: int) -> _Claim:
    version = said.get("manifest")
    if type(version) is not int or version < _VERSION:
        raise _FlawError(_MALFORMED)
    if version > _VERSION:
        _unreadable(position, f"A manifest line is of version {version}.", "Update Fidelity.")
    size = said.get("bytes", 0)
    if type(size) is not int or not 0 <= size < 1 << 62:
        raise _FlawError(_MALFORMED)
    runs = _runs(said.get("runs"))
    start, end = _time(said.get("start")), _time(said.get("end"))
    if end <= start:
        raise _FlawError(_UNTIMED)
    if start // window != (end - 1) // window:
        _unreadable(
            position,
            f"A manifest line's window, {said['start']} to {said['end']}, does not lie inside one "
            f"window of the pipeline ({window / 1e6:g} s).",
            "Let the pipeline's window be a multiple of the producers' manifest window.",
        )
    stream, origin = _name(said.get("stream")), _name(said.get("origin"))
    flaw = _FUTURE if 0 <= arrival < start - _DAY else 0
    return _Claim(runs, size, position, arrival, flaw, stream, origin, start)


def _runs(said: object) -> list[tuple[int, int]]:
    if not isinstance(said, list):
        raise _FlawError(_MALFORMED)
    for run in said:
        if not (
            isinstance(run, list)
            and len(run) == 2
            and type(run[0]) is int
            and type(run[1]) is int
            and 0 <= run[0] < _MODULUS
            and 0 <= run[1] <= _MODULUS
        ):
            raise _FlawError(_MALFORMED)
    return said


def _name(said: object) -> str:
    if not isinstance(said, str):
        raise _FlawError(_UNATTRIBUTED)
    try:
        length = len(said.encode())
    except UnicodeEncodeError:
        raise _FlawError(_MALFORMED) from None
    if not 0 < length <= LONGEST_NAME:
        raise _FlawError(_UNATTRIBUTED)
    return said


def _time(said: object) -> int:
    if not isinstance(said, str):
        raise _FlawError(_UNTIMED)
    try:
        time = _microseconds(said)
    except (ValueError, OverflowError):
        raise _FlawError(_UNTIMED) from None
    if time < 0:  # before 1970 no clock has ever been right
        raise _FlawError(_UNTIMED)
    return time


@lru_cache(maxsize=4096)
def _microseconds(text: str) -> int:
    time = datetime.fromisoformat(text)
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def _unreadable(position: int, what: str, action: str) -> NoReturn:
    raise UnreadableError(what, where=f"manifest line at {position}", action=action)


def _expanded(claims: list[_Claim], names: "Names") -> Iterator[Records]:
    runs = [(first, count, row) for row, c in enumerate(claims) for first, count in c.runs]
    firsts, counts, rows = np.array(runs, np.int64).reshape(-1, 3).T.copy()
    totals = np.zeros(len(claims), np.int64)
    np.add.at(totals, rows, counts)
    sizes = np.array([claim.size for claim in claims], np.int64)
    shares = sizes // np.maximum(totals, 1)
    extras = sizes - shares * totals  # the first record of a line takes what is left over
    seeds = np.array([_seed(c.stream, c.origin) for c in claims], np.uint32)
    streams = names.codes(pa.array([claim.stream for claim in claims], pa.string()))
    origins = names.codes(pa.array([claim.origin for claim in claims], pa.string()))
    columns = np.array([(c.time, c.arrival, c.position, c.flaw) for c in claims], np.int64).T
    run, done = 0, 0
    left = int(counts.sum())
    while left:
        here = min(left, CHUNK)
        left -= here
        ids, of = np.empty(here, np.uint32), np.empty(here, np.int64)
        run, done = _expand(firsts, counts, rows, seeds, run, done, ids, of)
        size = shares[of]
        begins = np.flatnonzero(np.diff(of, prepend=-1))
        size[begins] += extras[of[begins]]
        extras[of[begins]] = 0
        time, arrival, position, flaw = (column[of] for column in columns)
        yield Records(
            id=ids,
            time=time,
            stream=streams[of],
            origin=origins[of],
            size=size,
            arrival=arrival,
            position=position,
            flaw=flaw.astype(np.uint8),
        )


@lru_cache(maxsize=4096)
def _seed(stream: str, origin: str) -> int:
    return producer_seed(stream, origin)


@njit(cache=True)
def _expand(
    firsts: NDArray[np.int64],
    counts: NDArray[np.int64],
    rows: NDArray[np.int64],
    seeds: NDArray[np.uint32],
    run: int,
    done: int,
    ids: NDArray[np.uint32],
    of: NDArray[np.int64],
) -> tuple[int, int]:
    """Fills ids and their rows from `done` records into `run` on; returns where it stopped."""
    filled = 0
    while filled < len(ids):
        take = min(counts[run] - done, len(ids) - filled)
        seed = seeds[rows[run]]
        for k in range(take):
            ids[filled + k] = xxh32_of_u32(np.uint32(firsts[run] + done + k), seed)
            of[filled + k] = rows[run]
        filled += take
        done += take
        if done == counts[run]:
            run += 1
            done = 0
    return run, done


def warm() -> None:
    """Compile the kernel."""
    one = np.ones(1, np.int64)
    _expand(one, one, one * 0, np.ones(1, np.uint32), 0, 0, np.empty(1, np.uint32), one.copy())
