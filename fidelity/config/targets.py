"""The `targets:` and `expectations:` of a file: what decides between pass and fail."""

from typing import Any, cast

from fidelity.config import values
from fidelity.config.document import Way
from fidelity.config.masking import remember
from fidelity.config.model import Expectation, LagTarget, Over, Targets
from fidelity.config.reading import Reading, Section, one_of, unknown
from fidelity.config.values import nearest

SHARE_KEYS = ("completeness", "duplicates", "unexpected", "flaws")
TARGET_KEYS = (*SHARE_KEYS, "lag", "watermark_age")
STREAM_KEYS = ("completeness", "duplicates", "unexpected", "lag")
EXPECTATION_KEYS = ("over", "stage", "streams")
SCOPE_KEYS: dict[Over, tuple[str, ...]] = {
    "balances": ("stage", "streams"),
    "lags": ("stage", "streams"),
    "stages": ("stage",),
    "pipeline": (),
}
"""By table, the keys that choose some of its rows."""
OVERS = tuple(SCOPE_KEYS)
_LONGEST = values.duration("366d")
_NO_LAG = "must give a duration, or one for each quantile: `{p99: 5m, max: 1h}`"
_WHOLE = {
    "flaws": "a flawed record has no stream that could be trusted: it can be set for all only",
    "watermark_age": "the watermark is that of the pipeline: it can be set for all only",
}


def targets_of(read: Reading, top: Section) -> tuple[Targets, dict[str, Targets]]:
    """The pipeline's targets, and those of streams, which start from the pipeline's."""
    way: Way = ("targets",)
    given = read.section(top.get("targets"), way, (*TARGET_KEYS, "streams"))
    overall = _shares(read, given, way)
    overall |= _lag(read, top, given, way)
    if "watermark_age" in given:
        overall["watermark_age"] = _age(read, top, given, way)
    by_stream = {}
    for stream, value in read.section(given.get("streams"), (*way, "streams"), None).items():
        here = (*way, "streams", stream)
        section = value if not isinstance(value, dict) else dict(value)
        for key in [key for key in _WHOLE if isinstance(section, dict) and key in section]:
            read.problem((*here, key), _WHOLE[key])
            del section[key]
        own = read.section(section, here, STREAM_KEYS)
        by_stream[stream] = Targets(
            **overall | _shares(read, own, here) | _lag(read, top, own, here)
        )
    return Targets(**overall), by_stream


def _shares(read: Reading, given: Section, way: Way) -> dict[str, Any]:
    shares = {key: read.optional(given, way, key, values.share, None) for key in SHARE_KEYS}
    return {key: share for key, share in shares.items() if share is not None}


def _age(read: Reading, top: Section, given: Section, way: Way) -> int | None:
    """How old the watermark may be: just when a window passes it is as old as `settle`."""
    age = read.optional(given, way, "watermark_age", _duration, None)
    try:
        settle = values.duration(str(top.get("settle", "30m")))
    except ValueError:  # told where it is read for good
        return age
    if age is not None and age < settle:
        what = "can never be met: a window passes at the earliest when it has settled"
        read.problem((*way, "watermark_age"), f"`{given['watermark_age']}` {what}")
    return age


def _lag(read: Reading, top: Section, given: Section, way: Way) -> dict[str, Any]:
    """`lag: 5m`, `lag: {p99: 5m, max: 1h}`, and `stages:` in it for what differs by stage."""
    if "lag" not in given:
        return {}
    here = (*way, "lag")
    stages = top.get("stages")
    names = list(stages) if isinstance(stages, dict) else []
    value, by_stage = given["lag"], {}
    if isinstance(value, dict):
        by_stage = read.section(value.get("stages"), (*here, "stages"), None)
        value = {key: held for key, held in value.items() if key != "stages"}
    found = _quantiles(read, value, here, None)
    for stage, held in by_stage.items():
        if stage not in names:
            advice = nearest(stage, names)
            read.problem((*here, "stages", stage), f"there is no such stage. {advice}".rstrip())
        found += _quantiles(read, held, (*here, "stages", stage), stage)
        if held == {}:
            read.problem((*here, "stages", stage), _NO_LAG)
    if not by_stage and value == {}:
        read.problem(here, _NO_LAG)
    return {"lag": tuple(found)}


def _quantiles(read: Reading, value: object, way: Way, stage: str | None) -> list[LagTarget]:
    if isinstance(value, str):
        most = read.checked(way, value, _duration)
        return [] if most is None else [LagTarget(most=most, stage=stage)]
    found: dict[str, LagTarget] = {}
    section = read.section(value, way, None)
    for key in section:
        name = read.checked((*way, key), key, values.quantile)
        most = read.optional(section, way, key, _duration, None)
        if name is not None and name in found:
            read.problem((*way, key), f"`{name}` is told twice")
        elif name is not None and most is not None:
            found[name] = LagTarget(quantile=name, most=most, stage=stage)
    return list(found.values())


def _duration(text: str) -> int:
    found = values.duration(text)
    if found > _LONGEST:
        raise ValueError(f"`{text}` is longer than 366d")
    return found


def expectations_of(read: Reading, top: Section) -> tuple[Expectation, ...]:
    """A list of mappings, each with one key that is an expectation's name."""
    way: Way = ("expectations",)
    given = top.get("expectations")
    if given is None:
        return ()
    if not isinstance(given, list):
        read.problem(way, "must be a list, of lines `- expect_...: {...}`")
        return ()
    for secret in read.document.secret:
        if secret[:1] == way:
            remember(str(_held(given, secret[1:])))
    found = [_expectation(read, top, each, (*way, str(at))) for at, each in enumerate(given)]
    return tuple(each for each in found if each is not None)


def _over(text: str) -> Over:
    return cast("Over", one_of(OVERS)(text))


def _held(value: object, way: Way) -> object:
    for key in way:
        value = value[int(key)] if isinstance(value, list) else dict(value)[key]  # type: ignore[call-overload]
    return value


def _expectation(read: Reading, top: Section, value: object, way: Way) -> Expectation | None:
    given = read.section(value, way, None) if isinstance(value, dict) else {}
    names = [key for key in given if key.startswith("expect_")]
    for key in given:
        if key not in names and key not in EXPECTATION_KEYS:
            read.problem((*way, key), unknown(key, ("expect_...", *EXPECTATION_KEYS)))
    if len(names) != 1:
        read.problem(way, "must have exactly one key `expect_...`, an expectation's name")
        return None
    (name,) = names
    stages = top.get("stages")
    known = list(stages) if isinstance(stages, dict) else []
    asked = read.texts(given, way, "stage")
    for stage in asked:
        if stage not in known:
            what = f"there is no stage `{stage}`. {nearest(stage, known)}".rstrip()
            read.problem((*way, "stage"), what)
    over: Over = read.optional(given, way, "over", _over, "balances")
    for key in ("stage", "streams"):
        if key in given and key not in SCOPE_KEYS[over]:
            what = f"cannot choose rows of `{over}`: none is of one {key.removesuffix('s')}"
            read.problem((*way, key), what)
    return Expectation(
        name=name,
        arguments=read.section(given[name], (*way, name), None),
        over=over,
        stages=tuple(asked),
        streams=tuple(read.texts(given, way, "streams")),
    )
