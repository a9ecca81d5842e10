"""Lines for the decoder's tests: real-looking logs, as a Lines batch, and mutations of them."""

import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from fidelity.config import Place, RecordSpec, Stage
from fidelity.decode import Names, decoder
from fidelity.decode.decoder import Decoder
from fidelity.records import PADDING, Lines, Records, Slices
from fidelity.units import FLAWS, Unit

ARRIVAL = 1_800_000_000_000_000
PARTS = ("id", "time", "stream", "origin")


def lines_of(values: Sequence[bytes | None], **headers: Sequence[bytes | None]) -> Lines:
    """A batch whose buffer is packed tight, so that a scan that runs over a line's end shows."""
    buffer, slices = packed([*values, *(one for column in headers.values() for one in column)])
    count = len(values)
    parts = [
        Slices(slices.starts[at : at + count], slices.ends[at : at + count])
        for at in range(0, len(slices.starts), count or 1)
    ]
    own = parts[0] if parts else Slices(np.zeros(0, np.int64), np.zeros(0, np.int64))
    return Lines(
        buffer,
        own,
        np.arange(count, dtype=np.int64),
        np.full(count, ARRIVAL, np.int64),
        own.ends - own.starts,
        headers=dict(zip(headers, parts[1:], strict=True)),
    )


def packed(values: Sequence[bytes | None]) -> tuple[NDArray[np.uint8], Slices]:
    """Values one after the other with nothing between them, and their slices."""
    lengths = np.array([0 if value is None else len(value) for value in values], np.int64)
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    missing = np.array([value is None for value in values], np.bool_)
    starts[missing], ends[missing] = -1, -1
    whole = b"".join(value for value in values if value is not None) + b'"' * PADDING
    return np.frombuffer(whole, np.uint8).copy(), Slices(starts, ends)


def decoder_for(spec: RecordSpec, names: Names, path: str = "logs/h1/app.log") -> Decoder:
    stage = Stage(name="here", kind="files", record=spec)
    return decoder(stage, Unit("here", "key", "text", path, 0, 1), names)


def said(records: Records, names: Names) -> list[tuple[object, ...]]:
    """Each record as (flaw, id, time, stream, origin), or its flaw alone if it has no place."""
    rows: list[tuple[object, ...]] = []
    for row in range(len(records)):
        flaw = int(records.flaw[row])
        kind = FLAWS[flaw - 1] if flaw else ""
        if kind not in ("", "future"):
            rows.append((kind,))
            continue
        stream, origin = names.text(int(records.stream[row])), names.text(int(records.origin[row]))
        rows.append((kind, int(records.id[row]), int(records.time[row]), stream, origin))
    return rows


def spec(format_: str = "json", **places: Place) -> RecordSpec:
    return RecordSpec.model_validate({"format": format_, **places})


def json_log(count: int, seed: int) -> list[bytes]:
    """Varied JSON log lines: nested, escaped, spaced, beyond ASCII, with odd times and ids."""
    chance = random.Random(seed)
    return [_json_line(chance) for _ in range(count)]


def _json_line(chance: random.Random) -> bytes:
    members: dict[str, object] = {
        "ts": _time(chance),
        "level": chance.choice(["INFO", "WARN", "ERROR"]),
        "stream": chance.choice(["audit", "access", "app", "größe", "日志", "a/b", "😀"]),
        "origin": f"host-{chance.randrange(9)}",
        "msg": "".join(chance.choices('abc äß日😀"\\/\n\t{}[],:=x ', k=chance.randrange(40))),
        "fid": chance.choice([f"{chance.getrandbits(32):08x}", chance.getrandbits(32)]),
        "ms": chance.choice([0, 17, -3, 1.5, 2e-7, 1e22, 12345678901234567890, True, None]),
        "ctx": {"a": [1, {"b": "c"}, [], {}], "": None, "d": {"e": [True, False, -0.0]}},
    }
    keys = [key for key in members if chance.random() < 0.95]
    chance.shuffle(keys)
    apart = chance.choice([(",", ":"), (", ", ": ")])
    text = json.dumps(
        {key: members[key] for key in keys},
        separators=apart,
        ensure_ascii=chance.random() < 0.3,
    )
    return text.encode()


def _time(chance: random.Random) -> object:
    moment = datetime.fromtimestamp(chance.randrange(1_900_000_000), UTC)
    seconds = moment.timestamp()
    shown = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return chance.choice(
        [
            shown + "Z",
            shown + f".{chance.randrange(1000):03d}Z",
            shown + f".{chance.randrange(10**9):09d}",
            shown + f",{chance.randrange(10**6):06d}+05:30",
            shown.replace("T", " ") + " -0800",
            shown[:10],
            int(seconds),
            int(seconds * 1000),
            seconds + chance.randrange(1000) / 1000,
            seconds + chance.random(),
            (seconds + chance.random()) * 1000,
            shown.replace("T", " ") + chance.choice([" UTC", "+00", "Z", " z"]),
            str(int(seconds * 1_000_000)),
        ]
    )


def text_log(count: int, seed: int) -> list[bytes]:
    """Varied text log lines, most of them stamped."""
    chance = random.Random(seed)
    return [_text_line(chance) for _ in range(count)]


def _text_line(chance: random.Random) -> bytes:
    words = " ".join(chance.choices(["GET", "größe", "a=b", 'msg="x y"', "-", "Z", "UTC"], k=5))
    name = chance.choice(["app", "access", '"two words"', ""])
    tab = chance.choice([" ", "\t", "  "])
    line = f"{_time(chance)}{tab}stream={name} {words} origin=h{chance.randrange(9)}"
    if chance.random() < 0.1:
        line = "[" + line.replace(tab, "]", 1)
    return (line + chance.choice(["", " more"]) + f" fid={chance.getrandbits(32):08x}").encode()


LIKELY = b'"\\{}[]:,= \t0123456789.-+eEaAfFzZTtun\x00\x01\x7f\x80\xc3\xa9\xed\xf0\xff'
"""Bytes that a change of one byte is likely to matter by."""


def mutated(lines: list[bytes], rounds: int, seed: int) -> Iterator[Lines]:
    """Batches of all lines with bytes changed at random places, different ones each round."""
    chance = np.random.default_rng(seed)
    likely = np.frombuffer(LIKELY, np.uint8)
    whole = lines_of(lines)
    size = len(whole.buffer) - PADDING
    for _ in range(rounds):
        buffer = whole.buffer.copy()
        places = chance.integers(0, size, int(len(lines) * chance.choice([0.3, 0.6, 1.5])))
        buffer[places] = chance.choice(likely, len(places))
        some = places[: len(places) // 8]
        buffer[some] = chance.integers(0, 256, len(some), np.uint8)
        _splice(buffer, size, len(lines) // 10, chance)
        starts, ends = whole.values.starts.copy(), whole.values.ends.copy()
        _cut(starts, ends, size, chance)
        values = Slices(starts, ends)
        yield Lines(buffer, values, whole.positions, whole.arrivals, ends - starts)


def _splice(buffer: NDArray[np.uint8], size: int, count: int, chance: np.random.Generator) -> None:
    """Short runs of bytes are copied over others: members repeat, values change their kind."""
    lengths = chance.integers(2, 24, count)
    to, at = chance.integers(0, size - 24, count), chance.integers(0, size - 24, count)
    for step in range(24):
        still = lengths > step
        buffer[to[still] + step] = buffer[at[still] + step]


def _cut(
    starts: NDArray[np.int64], ends: NDArray[np.int64], size: int, chance: np.random.Generator
) -> None:
    """Some lines lose their tail, some take on the head of the next one."""
    rows = chance.integers(0, len(starts), len(starts) // 20)
    ends[rows] -= chance.integers(0, np.maximum(ends[rows] - starts[rows], 1))
    grown = chance.integers(0, len(starts), len(starts) // 50)
    ends[grown] = np.minimum(ends[grown] + 3, size)
