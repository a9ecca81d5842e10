"""Where the four parts of a record are, settled once for a unit: what is left to do a record.

A constant, a topic and a pattern on the path are known here; a field of a text line becomes the
pattern that finds its token.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fidelity.config import Place, RecordSpec
from fidelity.errors import ConfigError
from fidelity.units import Unit

PARTS = ("id", "time", "stream", "origin")

LINE_START = (
    r"^\[?(\d{4}-?\d\d-?\d\d[Tt ]\d\d:?\d\d(?::?\d\d(?:[.,]\d+)?)?"
    r" ?(?:[Zz]|UTC|[+-]\d\d:?\d\d|[+-]\d\d)?)(?:[\] \t;|]|$)"
)
"""The time that a line starts with. A date alone is none: more of it may stand there unread."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one part is; at most one is set. None at all: this unit's records have no such part."""

    pointer: str | None = None  # JSON
    member: bytes | None = None  # JSON: the name, if it is a top-level member; text: the field
    pattern: str | None = None  # text or JSON line, one group (or two, of which one takes part)
    header: str | None = None
    column: str | None = None
    key: bool = False
    constant: bytes | None = None
    arrives: bool = False  # the record's arrival is its time
    content: bool = False
    line_start: bool = False

    @property
    def needs_sql(self) -> bool:
        """Whether no kernel can find this part."""
        return self.in_value and self.member is None and not self.line_start

    @property
    def in_value(self) -> bool:
        """Whether the value must be understood, not just hashed."""
        return self.pointer is not None or self.pattern is not None


@dataclass(frozen=True, slots=True)
class Places:
    """The four spots of a unit's records, and how to read what is there."""

    format: str  # json, text; members: known to be JSON; none: the value is not looked at
    id: Spot
    time: Spot
    stream: Spot
    origin: Spot
    encoding: str  # of the id; content: hash of the value
    unit: str  # of the time

    @property
    def spots(self) -> tuple[Spot, Spot, Spot, Spot]:
        """In the order of PARTS."""
        return self.id, self.time, self.stream, self.origin


def left_over(places: Places) -> Places | None:
    """The places of the parts that no kernel can find, in lines known to be sound; None if none."""
    spots = [spot if spot.needs_sql else Spot() for spot in places.spots]
    if not any(spot.needs_sql for spot in spots):
        return None
    pointed = any(spot.pointer is not None for spot in spots)
    fid, time, stream, origin = spots
    return Places(
        "members" if pointed else "text", fid, time, stream, origin, places.encoding, places.unit
    )


def places(spec: RecordSpec, unit: Unit) -> Places:
    """The places of a record spec in one unit.

    Raises:
        ConfigError: a pattern that DuckDB cannot use, or a place that this format cannot have.
    """
    spots = {part: _spot(getattr(spec, part), part, spec.format, unit) for part in PARTS}
    looked_at = any(spot.in_value for spot in spots.values())
    return Places(
        format=spec.format if looked_at else "none",
        encoding="content" if spots["id"].content else spec.id.encoding,
        unit=spec.time.unit,
        **spots,
    )


def _spot(place: Place, part: str, format_: str, unit: Unit) -> Spot:
    if place.field is not None:
        return _field(place.field, part, format_)
    if place.header is not None:
        return Spot(header=place.header)
    if place.regex is not None or place.path is not None:
        return _pattern(place, part, unit)
    if place.constant is not None:
        return Spot(constant=place.constant.encode())
    return _builtin(place.builtin, part, format_, unit)


def _pattern(place: Place, part: str, unit: Unit) -> Spot:
    from fidelity.decode.sql import check_pattern, first_group

    if place.regex is not None:
        check_pattern(place.regex, part)
        return Spot(pattern=place.regex)
    path = place.path or ""
    check_pattern(path, part)
    found = first_group(path, unit.path)
    return Spot(constant=None if found is None else found.encode())


def _field(field: str, part: str, format_: str) -> Spot:
    if format_ == "json":
        return _pointed(field if field.startswith("/") else pointer(field), part)
    if format_ == "text":
        return Spot(pattern=token(field, last=part == "id"), member=field.encode())
    return Spot(column=field)


def _builtin(builtin: str | None, part: str, format_: str, unit: Unit) -> Spot:
    if builtin == "key":
        return Spot(key=True)
    if builtin == "topic":
        return Spot(constant=unit.path.encode())
    if builtin == "timestamp" and part == "time":
        return Spot(arrives=True)
    if builtin == "content" and part == "id" and format_ != "parquet":
        return Spot(content=True)
    if builtin == "line_start" and part == "time" and format_ == "text":
        return Spot(pattern=LINE_START, line_start=True)
    raise ConfigError(f"A {format_} record has no {part} `from: {builtin}`.", where=unit.stage)


def _pointed(pointer_: str, part: str) -> Spot:
    if re.search("~(?![01])", pointer_):
        raise ConfigError(
            f"The JSON pointer {pointer_!r} for the {part} cannot be used: ~ stands alone.",
            action="Write ~0 for ~ and ~1 for / within a name.",
        )
    if "/" in pointer_[1:]:
        return Spot(pointer=pointer_)
    name = pointer_[1:].replace("~1", "/").replace("~0", "~")
    return Spot(pointer=pointer_, member=name.encode())


def pointer(member: str) -> str:
    """The JSON pointer of a top-level member."""
    return "/" + member.replace("~", "~0").replace("/", "~1")


def token(field: str, *, last: bool) -> str:
    """The pattern that finds field=value in a text line, the value quoted or up to a blank.

    The first token counts; of ids the last, since a stamp stands at the end of its line.
    """
    before = r"(?s)^(?:.*[ \t])?" if last else r"(?:^|[ \t])"
    return before + re.escape(field) + r'=(?:([^ \t"][^ \t]*)|"((?:[^"\\]|\\.)*)")'


def columns_needed(spec: RecordSpec) -> list[str]:
    """The columns that a Parquet stage's records are decoded from."""
    return _columns(spec, PARTS)


def names_needed(spec: RecordSpec) -> list[str]:
    """Those of columns_needed that hold names of streams and origins and nothing else."""
    others = _columns(spec, ("id", "time"))
    return [name for name in _columns(spec, ("stream", "origin")) if name not in others]


def _columns(spec: RecordSpec, parts: Iterable[str]) -> list[str]:
    if spec.format != "parquet":
        return []
    fields = (getattr(spec, part).field for part in parts)
    return list(dict.fromkeys(field for field in fields if field is not None))


def headers_needed(spec: RecordSpec) -> list[str]:
    """The Kafka headers that records are decoded from."""
    headers = (getattr(spec, part).header for part in PARTS)
    return list(dict.fromkeys(header for header in headers if header is not None))


def key_needed(spec: RecordSpec) -> bool:
    """Whether records are decoded from their Kafka keys."""
    return any(getattr(spec, part).builtin == "key" for part in PARTS)


def value_needed(spec: RecordSpec) -> bool:
    """Whether records are decoded from their values; if not, values are not looked at."""
    found = (getattr(spec, part) for part in PARTS)
    return spec.format == "manifest" or any(
        place.field is not None
        or place.regex is not None
        or place.builtin in ("content", "line_start")
        for place in found
    )
