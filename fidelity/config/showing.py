"""A pipeline in the words of its file, as it may be shown: what was understood, secrets masked.

Law: but for what is masked, a file with these words is read as the same pipeline.
"""

from typing import Any

from fidelity.config.masking import mask, shown_options
from fidelity.config.model import (
    PLACES,
    Engine,
    Expectation,
    OpenMetrics,
    OpenTsdb,
    Pipeline,
    Place,
    Publish,
    Stage,
    Targets,
)
from fidelity.config.record import PARTS
from fidelity.config.targets import SHARE_KEYS, STREAM_KEYS
from fidelity.config.values import duration_text, share_text


def shown(pipeline: Pipeline) -> dict[str, Any]:
    """The whole pipeline, every default written out."""
    return {
        "pipeline": pipeline.name,
        "store": mask(pipeline.store),
        "window": duration_text(pipeline.window),
        "settle": duration_text(pipeline.settle),
        "retire_after": _or_never(pipeline.retire_after),
        "workers": str(pipeline.workers),
        "engine": _engine(pipeline.engine),
        "stages": {stage.name: _stage(stage) for stage in pipeline.stages},
        "targets": {
            **_targets(pipeline.targets),
            "streams": {
                name: {key: held for key, held in _targets(targets).items() if key in STREAM_KEYS}
                for name, targets in pipeline.stream_targets.items()
            },
        },
        "expectations": [_expectation(each) for each in pipeline.expectations],
        "options": shown_options(pipeline.store_options),
    } | _publish(pipeline.publish)


def place_text(place: Place) -> str:
    """A place in one line: `fid`, `header fid as hex`, `from line_start`."""
    value = shown_place(place)
    if isinstance(value, str):
        return value
    return " ".join(f"{key} {text}" for key, text in value.items()).replace("field ", "", 1)


def shown_place(place: Place) -> str | dict[str, str]:
    """A place as the file has it."""
    if place.builtin == "content":
        return "content"
    key, value = next((n, getattr(place, n)) for n in PLACES if getattr(place, n) is not None)
    how: dict[str, str] = {} if place.encoding == "auto" else {"as": place.encoding}
    how |= {} if place.unit == "auto" else {"unit": place.unit}
    if key == "field" and not how and value != "content":
        return str(value)
    return {"from" if key == "builtin" else key: mask(value), **how}


def _engine(engine: Engine) -> dict[str, Any]:
    words: dict[str, Any] = {"kind": engine.kind}
    words |= {"master": mask(engine.master)} if engine.master is not None else {}
    return words | ({"conf": shown_options(engine.conf)} if engine.conf else {})


def _publish(publish: Publish) -> dict[str, Any]:
    """Nothing where nothing is published."""
    words: dict[str, Any] = {"star": mask(publish.star)} if publish.star else {}
    words |= {"options": shown_options(publish.options)} if publish.options else {}
    for name, part in (("openmetrics", publish.openmetrics), ("opentsdb", publish.opentsdb)):
        words |= {name: _of_metrics(part)} if part.named else {}
    return {"publish": words} if words else {}


def _of_metrics(part: OpenMetrics | OpenTsdb) -> dict[str, Any]:
    given = part.model_dump(exclude={"origins", "options"}, exclude_defaults=True)
    words: dict[str, Any] = {name: mask(where) for name, where in given.items()}
    words |= {"origins": "true"} if part.origins else {}
    return words | ({"options": shown_options(part.options)} if part.options else {})


def _or_never(duration: int | None) -> str:
    return "never" if duration is None else duration_text(duration)


def _stage(stage: Stage) -> dict[str, Any]:
    words: dict[str, Any] = {"kind": stage.kind}
    words |= {"after": stage.after} if stage.after is not None else {}
    words |= {"path": [mask(path) for path in stage.paths]} if stage.paths else {}
    words |= {"brokers": mask(stage.brokers)} if stage.brokers else {}
    words |= {"topic": list(stage.topics)} if stage.topics else {}
    words["record"] = {part: shown_place(getattr(stage.record, part)) for part in PARTS}
    if stage.kind != "manifests":
        words["record"] = {"format": stage.record.format, **words["record"]}
    keep = {"stream": stage.keep_streams, "origin": stage.keep_origins}
    kept = {name: list(values) for name, values in keep.items() if values is not None}
    words |= {"keep": kept} if kept else {}
    words |= {"sample": f"1/{stage.sample}"} if stage.sample > 1 else {}
    return words | ({"options": shown_options(stage.options)} if stage.options else {})


def _targets(targets: Targets) -> dict[str, Any]:
    words: dict[str, Any] = {
        name: share_text(getattr(targets, name))
        for name in SHARE_KEYS
        if getattr(targets, name) is not None
    }
    words |= {"lag": _lag(targets)} if targets.lag else {}
    age = targets.watermark_age
    return words | ({} if age is None else {"watermark_age": duration_text(age)})


def _lag(targets: Targets) -> dict[str, Any]:
    """As the file has it; quantiles that hold at every stage first."""
    words: dict[str, Any] = {}
    for each in targets.lag:
        place = words
        if each.stage is not None:
            place = words.setdefault("stages", {}).setdefault(each.stage, {})
        place[each.quantile] = duration_text(each.most)
    return words


def _expectation(expectation: Expectation) -> dict[str, Any]:
    words: dict[str, Any] = {expectation.name: _masked(expectation.arguments)}
    words |= {"over": expectation.over}
    words |= {"stage": list(expectation.stages)} if expectation.stages else {}
    return words | ({"streams": list(expectation.streams)} if expectation.streams else {})


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(held) for key, held in value.items()}
    return [_masked(each) for each in value] if isinstance(value, list) else mask(str(value))
