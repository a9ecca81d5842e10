"""The report as OpenTSDB data points: lines of its telnet protocol, and its HTTP API's JSON.

A point's time is the run's clock (as_of) in seconds: the same run, published again, writes the same
points. Names are ASCII letters, digits and `-_./`, the characters that every receiver takes (its
documentation allows Unicode letters too, and warns of them in lines). Law: `escaped` is injective.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote

from fidelity.errors import FidelityError
from fidelity.report import Report, iso
from fidelity.report.metrics import Number, families

LONGEST = 150
"""Characters of a tag's value: so a line stays below the 1,024 bytes that a receiver reads."""

_LAST = 2**32 - 1  # seconds, a receiver keeps four bytes


@dataclass(frozen=True, slots=True)
class Point:
    """One data point. Tags are in the order of the metric's labels."""

    metric: str
    timestamp: int  # seconds
    value: Number  # finite
    tags: tuple[tuple[str, str], ...]

    def line(self) -> str:
        """The `put` line, without its end."""
        tags = " ".join(f"{name}={value}" for name, value in self.tags)
        return f"put {self.metric} {self.timestamp} {number(self.value)} {tags}"

    def document(self) -> dict[str, Any]:
        """The JSON object of /api/put."""
        return {
            "metric": self.metric,
            "timestamp": self.timestamp,
            "value": self.value,
            "tags": dict(self.tags),
        }


def points(report: Report, origins: bool = False) -> Iterator[Point]:
    """The data points of a report.

    Raises FidelityError if the clock of the report is no time that OpenTSDB can hold.
    """
    at = report.as_of // 1_000_000
    if not 0 < at <= _LAST:
        what = f"OpenTSDB cannot hold the time {iso(report.as_of)} (as_of)"
        action = "It holds times from 1970 to 2106: give another --as-of."
        raise FidelityError(what, where=f"run {report.run}", action=action)
    for metric, samples in families(report, origins):
        name = metric.name.replace("_", ".", 1)
        labels = ("pipeline", *metric.labels)
        for values, value in samples:
            if math.isfinite(value):
                yield Point(name, at, value, _tags(labels, values))


def _tags(names: tuple[str, ...], values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """A label that does not apply (the source is against nothing) is no tag."""
    pairs = zip(names, values, strict=True)
    return tuple((n, escaped(v)) for n, v in pairs if v or n == "stream" or n == "origin")


def write(report: Report, out: IO[str], origins: bool = False) -> None:
    """Write the `put` lines. Raises FidelityError, see `points`."""
    out.writelines(f"{point.line()}\n" for point in points(report, origins))


def batches(
    found: Iterator[Point], most: int = 50, most_bytes: int = 8_000
) -> Iterator[list[Point]]:
    """Points for one HTTP request each: more is refused by a receiver that is not set up for it."""
    batch: list[Point] = []
    size = 2
    for point in found:
        added = len(json.dumps(point.document())) + 2
        if batch and (len(batch) == most or size + added > most_bytes):
            yield batch
            batch, size = [], 2
        batch.append(point)
        size += added
    if batch:
        yield batch


def escaped(value: str) -> str:
    """A tag's value: other bytes of its UTF-8, and `/` itself, as `/` and two hex digits.

    Nothing is `/`. Of a value that would be too long the beginning is kept, then `//` and 16 hex
    digits of its SHA-256: nothing else has two `/` side by side.
    """
    text = quote(value, safe="-_.").replace("~", "%7E").replace("%", "/") or "/"
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(value.encode()).hexdigest()[:16]
    return f"{text[: LONGEST - 18]}//{digest}"


def number(value: Number) -> str:
    """Digits, or digits with a point and maybe an exponent: no sign `+`, as the protocol has it."""
    if isinstance(value, int):
        return str(value)
    mantissa, _, exponent = repr(value).partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
