"""From a pipeline file to a Pipeline: the file's keys, and the checks across them.

Every problem of a file is told at once, with its line and its path.
"""

import os
import re
from math import lcm
from pathlib import Path
from typing import Any

from fidelity.config import values
from fidelity.config.document import Way, parse
from fidelity.config.masking import mask
from fidelity.config.model import ENGINES, Engine, Pipeline, RecordSpec, Stage, tree_problems
from fidelity.config.publishing import publish_of
from fidelity.config.reading import (
    Reading,
    Section,
    located,
    one_of,
    options_of,
    settings_of,
    unknown,
)
from fidelity.config.record import RECORD_KEYS, format_of, places, record_spec
from fidelity.config.targets import expectations_of, targets_of
from fidelity.errors import ConfigError

PIPELINE_KEYS = (
    "pipeline", "store", "window", "settle", "retire_after", "record", "stages", "targets",
    "expectations", "workers", "engine", "options", "publish",
)  # fmt: skip
STAGE_KEYS = (
    "kind", "after", "path", "brokers", "topic", "record", "options", "keep", "sample",
)  # fmt: skip
ENGINE_KEYS = ("kind", "master", "conf")
KINDS = ("files", "kafka", "manifests")

_KEYS_OF_KIND = {
    "files": ("path",),
    "kafka": ("brokers", "topic"),
    "manifests": ("path", "brokers", "topic"),
}
_LONGEST_WINDOW = values.duration("31d")
_LONGEST_SETTLE = values.duration("366d")


def load(path: str | os.PathLike[str]) -> Pipeline:
    """Read a pipeline file.

    Relative paths in it are taken from the folder that the file is in. Raises ConfigError, whose
    text lists every problem of the file.
    """
    file = Path(path)
    document = parse(file)
    if document.value is None and not document.problems:
        action = "`fidelity init` writes one to start from."
        raise ConfigError("the pipeline file is empty.", where=str(file), action=action)
    arguments = _pipeline(Reading(document), os.path.abspath(file.parent))
    if document.problems:
        found = sorted(document.problems, key=lambda problem: (problem.line, problem.way))
        told = [mask(str(problem)) for problem in found]
        many = [f"{len(told)} problems:"] if len(told) > 1 else []
        raise ConfigError("\n  ".join([*many, *told]), where=str(file))
    return Pipeline(**arguments)


def _pipeline(read: Reading, folder: str) -> dict[str, Any]:
    top = read.section(read.document.value, (), PIPELINE_KEYS)
    if not top and not read.sound:
        return {}
    targets, by_stream = targets_of(read, top)
    return {
        "name": read.required(top, (), "pipeline", values.name),
        "store": located(read.required(top, (), "store", values.words) or "", folder),
        "window": _window(read, top),
        "settle": _settle(read, top),
        "retire_after": read.optional(top, (), "retire_after", values.duration_or_never, None),
        "targets": targets,
        "stream_targets": by_stream,
        "expectations": expectations_of(read, top),
        "workers": read.optional(top, (), "workers", values.whole, 0),
        "store_options": options_of(read, top, ()),
        "publish": publish_of(read, top, folder),
        **_engine(read, top),
        "stages": _stages(read, top, folder),
    }


def _engine(read: Reading, top: Section) -> dict[str, Any]:
    """`engine: spark`, or a section; nothing where the file says nothing: see default_engine."""
    way: Way = ("engine",)
    if "engine" not in top:
        return {}
    given = top["engine"]
    if not isinstance(given, dict):
        kind = read.optional(top, (), "engine", one_of(ENGINES), "")
        return {"engine": Engine.model_validate({"kind": kind})} if kind else {}
    section = read.section(given, way, ENGINE_KEYS)
    kind = read.required(section, way, "kind", one_of(ENGINES)) or ""
    for key in ("master", "conf"):
        if kind == "local" and key in section:
            read.problem((*way, key), "belongs to the engine spark")
    if not kind:
        return {}
    master = read.optional(section, way, "master", values.words, None)
    conf = settings_of(read, section, way, "conf")
    return {"engine": Engine.model_validate({"kind": kind, "master": master, "conf": conf})}


def _window(read: Reading, top: Section) -> int:
    window = read.optional(top, (), "window", values.duration, 600_000_000)
    if not 1_000_000 <= window <= _LONGEST_WINDOW:
        read.problem(("window",), f"`{top['window']}` is not between 1s and 31d")
    return window


def _settle(read: Reading, top: Section) -> int:
    settle = read.optional(top, (), "settle", values.duration, 1_800_000_000)
    if settle > _LONGEST_SETTLE:
        read.problem(("settle",), f"`{top['settle']}` is longer than 366d")
    return settle


def _stages(read: Reading, top: Section, folder: str) -> tuple[Stage, ...]:
    section = read.section(top.get("record"), ("record",), RECORD_KEYS)
    inherited = RecordSpec.model_validate(
        {"format": format_of(read, section, ("record",)) or "json"}
        | places(read, section, ("record",))
    )
    way: Way = ("stages",)
    given = read.section(top.get("stages"), way, None)
    if not given and (way not in read.document.lines or isinstance(top.get("stages"), dict)):
        read.problem(way, "is missing: give at least one stage, the source")
    stages = {name: _stage(read, name, given[name], inherited, folder) for name in given}
    tree = [(name, stage["after"]) for name, stage in stages.items()]
    for name, key, what in tree_problems(tree):
        read.problem((*way, name, key) if key else (*way, name), what)
    if not read.sound:
        return ()
    order = _parents_first(dict(tree))
    _check_samples(read, way, stages, order)
    return tuple(Stage(**stages[name]) for name in order)


def _check_samples(
    read: Reading, way: Way, stages: dict[str, dict[str, Any]], order: list[str]
) -> None:
    """Samples that follow each other keep what both keep: that, too, must be some ids."""
    kept: dict[str | None, int] = {None: 1}
    for name in order:
        kept[name] = lcm(kept[stages[name]["after"]], stages[name]["sample"])
        if kept[name] >= values.LARGEST_SAMPLE > stages[name]["sample"]:
            what = f"with the samples before it keeps one id in {kept[name]:,}: hardly any is left"
            read.problem((*way, name, "sample"), what)
            return


def _parents_first(after: dict[str, str | None]) -> list[str]:
    """The names in the file's order, save that each stands after the one it comes after."""
    ordered: list[str] = []
    while len(ordered) < len(after):
        ready = (n for n in after if n not in ordered and after[n] in (None, *ordered))
        ordered.append(next(ready))
    return ordered


def _stage(
    read: Reading, name: str, value: object, inherited: RecordSpec, folder: str
) -> dict[str, Any]:
    way: Way = ("stages", name)
    read.checked(way, name, values.name)
    given = read.section(value, way, STAGE_KEYS)
    kind = read.required(given, way, "kind", one_of(KINDS)) or ""
    paths = read.texts(given, way, "path")
    section = read.section(given.get("record"), (*way, "record"), RECORD_KEYS)
    record = record_spec(read, inherited, section, (*way, "record"), kind, paths)
    brokers = ",".join(read.texts(given, way, "brokers"))
    options = {
        # A certificate's file is found from the pipeline file's folder, like any other path.
        key: located(value, folder) if key.endswith(".location") else value
        for key, value in options_of(read, given, way).items()
    }
    if "topic" in given:
        _check_client(read, options, (*way, "options"))
    _check_place(read, given, way, kind)
    _check_position(read, given, way, kind)
    return {
        "name": name,
        "kind": kind,
        "after": read.optional(given, way, "after", values.words, None),
        "paths": tuple(located(path, _escaped(folder)) for path in paths),
        "topics": tuple(read.texts(given, way, "topic")),
        "brokers": ",".join(part.strip() for part in brokers.split(",") if part.strip()),
        "record": record,
        "options": options,
        "sample": read.optional(given, way, "sample", values.one_in, 1),
        **_keep(read, given, way, record),
    }


def _check_client(read: Reading, options: dict[str, str], way: Way) -> None:
    """Settings of the Kafka client: it knows its own names, and tells no values."""
    # Here, since reading pipelines is not only for those who read Kafka.
    from fidelity.sources.kafka_options import problems

    for problem in problems(options):
        read.problem(way, problem)


def _check_place(read: Reading, given: Section, way: Way, kind: str) -> None:
    """The keys that say where a stage is are those of its kind, and all of them."""
    own = _KEYS_OF_KIND.get(kind, ("path", "brokers", "topic"))
    for key in ("path", "brokers", "topic"):
        if key in given and key not in own:
            read.problem((*way, key), f"does not belong to a stage of kind {kind}")
    if kind == "manifests" and ("path" in given) == ("topic" in given):
        read.problem(way, "manifests need either `path`, or `brokers` and `topic`")
    elif kind == "manifests" and "topic" in given:
        read.missing(way, "brokers")
    elif kind in ("files", "kafka"):
        read.missing(way, *own)


def _check_position(read: Reading, given: Section, way: Way, kind: str) -> None:
    """What only the source, or only a later stage, may have."""
    if "after" in given and kind == "manifests":
        what = "manifests tell what was produced: only the source can be of this kind"
        read.problem((*way, "kind"), what)
    for key in ("keep", "sample"):
        if key in given and "after" not in given:
            read.problem((*way, key), "a contract is about what came before: the source has none")


def _keep(read: Reading, given: Section, way: Way, record: RecordSpec) -> dict[str, Any]:
    """The contract `keep: {type: [audit, access]}`: the key names a stream or origin place."""
    if "keep" not in given:
        return {}
    here = (*way, "keep")
    section = read.section(given["keep"], here, None)
    attributes = {"stream": "keep_streams", "origin": "keep_origins"}
    attributes |= {record.origin.field: "keep_origins"} if record.origin.field else {}
    attributes |= {record.stream.field: "keep_streams"} if record.stream.field else {}
    if not section and read.sound:
        read.problem(here, f"must name what passes, by {' or '.join(attributes)}")
    kept: dict[str, Any] = {}
    for key in section:
        if key not in attributes:
            read.problem((*here, key), unknown(key, attributes))
        elif attributes[key] in kept:
            read.problem((*here, key), "is told twice, by two names")
        else:
            kept[attributes[key]] = tuple(read.texts(section, here, key))
    return kept


def _escaped(folder: str) -> str:
    """A folder as a pattern: only what the user wrote is special in it."""
    return re.sub(r"[*?\[{]", r"[\g<0>]", folder)
