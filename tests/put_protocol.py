"""A strict parser of OpenTSDB's put lines, written from its documentation of the telnet API.

`put <metric> <timestamp> <value> <tagk=tagv> ...`: fields are apart by one space each. Metrics and
tags are of a-z, A-Z, 0-9, `-_./` (Unicode letters only by HTTP); there are 1 to 8 tags, each name
once; a time is seconds in 4 bytes; a value is a long of Java's, or [-]<#>.<#>[e|E][-]<#>, finite.
"""

import math
import re
from dataclasses import dataclass
from urllib.parse import unquote

_NAME = re.compile(r"[a-zA-Z0-9\-_./]+")
_INTEGER = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+([eE]-?[0-9]+)?")


@dataclass(frozen=True)
class Parsed:
    metric: str
    timestamp: int
    value: float
    tags: dict[str, str]


def parsed(line: str) -> Parsed:
    """A line without its end. Raises ValueError where a receiver would refuse it."""
    if not line.isascii() or len(line) > 1_022:
        raise ValueError(f"not ASCII, or too long: {line!r}")
    command, metric, timestamp, value, *pairs = line.split(" ")
    if command != "put" or not re.fullmatch(r"[1-9][0-9]{0,9}", timestamp):
        raise ValueError(f"no put, or no time: {line!r}")
    if int(timestamp) >= 2**32 or not 1 <= len(pairs) <= 8:
        raise ValueError(f"too late, or too many or few tags: {line!r}")
    tags = [pair.split("=") for pair in pairs]
    names = [metric, *(part for tag in tags for part in tag)]
    if any(len(tag) != 2 for tag in tags) or not all(map(_NAME.fullmatch, names)):
        raise ValueError(f"not a name: {line!r}")
    if len({name for name, _ in tags}) < len(tags):
        raise ValueError(f"a tag twice: {line!r}")
    return Parsed(metric, int(timestamp), _value(value), dict(tags))


def _value(text: str) -> float:
    if _INTEGER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    if not _DECIMAL.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"not a value: {text!r}")
    return float(text)


def unescaped(value: str) -> str:
    """A tag's value as it was: `/` and two hex digits are a byte, `/` alone is nothing.

    One that was cut (`//` and a digest) stays as it is.
    """
    if "//" in value:
        return value
    return "" if value == "/" else unquote(value.replace("/", "%"), errors="strict")
