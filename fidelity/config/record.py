"""The `record:` sections: short forms, what a format takes for granted, what fits which stage."""

from typing import Any

from fidelity.config import values
from fidelity.config.document import Way
from fidelity.config.model import Place, RecordSpec
from fidelity.config.reading import Reading, Section, one_of

RECORD_KEYS = ("format", "id", "time", "stream", "origin")
PARTS = RECORD_KEYS[1:]
FORMATS = ("json", "text", "parquet")
PLACE_KEYS = {
    "id": ("field", "header", "regex", "from", "as"),
    "time": ("field", "header", "regex", "path", "from", "unit"),
    "stream": ("field", "header", "regex", "path", "constant", "from"),
    "origin": ("field", "header", "regex", "path", "constant", "from"),
}
FROM = {
    "id": ("key", "content"),
    "time": ("timestamp", "line_start"),
    "stream": ("topic", "key"),
    "origin": ("topic", "key"),
}
ENCODINGS = ("auto", "hex", "int", "sequence", "opaque")
TIME_UNITS = ("auto", "iso", "s", "ms", "us", "ns")

_HOW = ("as", "unit")  # say how a place is read, not where it is
_FIELDS = {"id": "fid", "time": "ts", "stream": "stream", "origin": "origin"}


def places(read: Reading, given: Section, way: Way) -> dict[str, Place]:
    """The places that one `record:` section gives, by part."""
    found = {part: _place(read, part, given[part], (*way, part)) for part in PARTS if part in given}
    return {part: place for part, place in found.items() if place is not None}


def format_of(read: Reading, given: Section, way: Way) -> str:
    """The format that one `record:` section gives, "" if it gives none."""
    return read.optional(given, way, "format", one_of(FORMATS), "")


def record_spec(
    read: Reading, inherited: RecordSpec, given: Section, way: Way, kind: str, paths: list[str]
) -> RecordSpec:
    """A stage's record: its own places, else the pipeline's, else what its format implies.

    `inherited` holds in `model_fields_set` what the pipeline's section really gave.
    """
    own = places(read, given, way)
    parquet = bool(paths) and all(path.endswith(".parquet") for path in paths)
    format_ = format_of(read, given, way) or ("parquet" if parquet else inherited.format)
    if kind == "manifests":
        if "format" in given:
            read.problem((*way, "format"), "manifests have their own format")
        format_ = "manifest"
    parts: dict[str, Any] = {}
    for part in PARTS:
        parts[part] = own.get(part) or _taken_over(inherited, part, format_)
        if format_ != "manifest" and (misfit := _misfit(parts[part], format_, kind)):
            if part in own:
                read.problem((*way, part), misfit)
            else:
                read.problem(way, f"{misfit}: give it a `{part}` of its own")
    return RecordSpec.model_validate({"format": format_, **parts})


def _taken_over(inherited: RecordSpec, part: str, format_: str) -> Place:
    if part in inherited.model_fields_set:
        place: Place = getattr(inherited, part)
        return place
    if part == "time" and format_ == "text":
        return Place(builtin="line_start")
    return Place(field=_FIELDS[part])


def _misfit(place: Place, format_: str, kind: str) -> str:
    """Why a stage of this kind and format cannot have a value there ("" if it can)."""
    if format_ == "parquet":
        if place.regex is not None:
            return "a Parquet file has columns, so no `regex` can be tried on its lines"
        if place.builtin in ("line_start", "content"):
            return f"a Parquet file has columns, so nothing is there `from: {place.builtin}`"
    if place.builtin == "line_start" and format_ != "text":
        return "only lines of text have a time `from: line_start`"
    if kind != "kafka":
        if place.header is not None:
            return "only Kafka's records have a `header`"
        if place.builtin in ("key", "timestamp", "topic"):
            return f"only Kafka's records have something `from: {place.builtin}`"
    elif place.path is not None:
        return "Kafka's records have no `path`"
    return ""


def _place(read: Reading, part: str, value: object, way: Way) -> Place | None:
    if isinstance(value, str):
        if part == "id" and value == "content":
            return Place(builtin="content")
        field = read.checked(way, value, values.words)
        return None if field is None else Place(field=field)
    before = len(read.document.problems)
    given = read.section(value, way, PLACE_KEYS[part])
    where = [key for key in given if key not in _HOW]
    if given and not where:
        given["field"] = _FIELDS[part]
    elif len(where) != 1 and len(read.document.problems) == before:
        names = ", ".join(key for key in PLACE_KEYS[part] if key not in _HOW)
        read.problem(way, f"must give exactly one of {names}")
    arguments = {
        _ATTRIBUTES.get(key, key): read.optional(given, way, key, _kind(part, key), "")
        for key in given
    }
    if arguments.get("builtin") == "content" and "as" in given:
        read.problem((*way, "as"), "a hash of the content has no other encoding")
    sound = len(read.document.problems) == before and not read.document.unset
    return Place.model_validate(arguments) if sound else None


_ATTRIBUTES = {"from": "builtin", "as": "encoding"}


def _kind(part: str, key: str) -> Any:
    readers = {
        "from": one_of(FROM[part]),
        "as": one_of(ENCODINGS),
        "unit": one_of(TIME_UNITS),
        "regex": values.regex,
        "path": values.regex,
        "constant": str,
    }
    return readers.get(key, values.words)
