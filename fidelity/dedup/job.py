"""A clean copy of a stage: every record once, in the same files or partitions.

plan -> seen (each unit's runs) -> repeats -> clean (each file) -> publish. The tasks are mapped by
whoever calls: over Spark's executors, or over local processes.
Invariant: read = kept + dropped, and kept is what the copy holds; else nothing is published.
"""

import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fidelity import sources
from fidelity.config import Pipeline, Stage
from fidelity.config.reading import located
from fidelity.dedup.clean import Cleaned, CleanTask, Part, clean_task
from fidelity.dedup.output import Draft, draft, resolved
from fidelity.dedup.repeats import Group, Held, SeenTask, repeats, seen_task
from fidelity.dedup.runs import Bounds, Runs
from fidelity.errors import DedupError, UsageError
from fidelity.sources.filesystem import Entry, real_name
from fidelity.sources.globs import files_of, fixed_part, is_pattern, literal, reaches
from fidelity.units import Unit

_LONG_AFTER = 1 << 62
"""Microseconds: seen from then, all files are at rest, whatever their clocks say."""


class Mapper(Protocol):
    """Does tasks, anywhere; results in the order of the tasks."""

    def __call__(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """function(task) of each; both can be pickled. Raises what a task raised."""
        ...


@dataclass(frozen=True, slots=True)
class Books:
    """What became of the records of a stage. Balanced: read = kept + dropped.

    `flaws` are the records without an id that can be used; they are among those kept.
    `elsewhere` are among those dropped: no record of their id lies in their own window.
    """

    stage: str
    output: str
    read: int
    kept: int
    dropped: int
    elsewhere: int
    flaws: dict[str, int] = field(default_factory=dict)
    files: int = 0  # or partitions

    def __post_init__(self) -> None:
        if self.read != self.kept + self.dropped:
            raise AssertionError(f"read {self.read}, kept {self.kept}, dropped {self.dropped}")


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be copied, and which of it are repeats."""

    stage: Stage
    window: int
    by_window: bool
    parts: tuple[Part, ...]
    flaws: dict[str, int]
    elsewhere: int


def clean_copy(
    pipeline: Pipeline,
    stage: str,
    output: str,
    mapper: Mapper,
    *,
    options: Mapping[str, str] | None = None,
    paths: Sequence[str] = (),
    by_window: bool = False,
) -> Books:
    """Write the files of a stage again, below another folder, without later copies.

    Args:
        output: a folder that is empty or not there; local, s3://, gs:// or hdfs://.
        mapper: does the tasks.
        options: the output's client settings; the stage's, if none are given.
        paths: only these of the stage's files. Patterns as in the pipeline file; relative ones
            from the working directory.
        by_window: two records of one id are copies only if their event times lie in one window.

    Raises:
        UsageError: there is no such stage, it is no folder of files, the output is not empty or
            among them, or one of `paths` is none of them.
        SourceError, UnreadableError: it cannot be read as a whole.
        DedupError: its ids are no proof, or the copy cannot be written.
    """
    chosen = pipeline.stage(stage)
    if chosen.kind != "files":
        raise UsageError(f"`{stage}` has no records.", action="Name a stage of files or a topic.")
    folder = resolved(output)
    _check_apart(chosen, folder)
    # The output is looked at before the input is read: a long read for nothing helps nobody.
    target = draft(folder, chosen.options if options is None else options)
    wanted = [located(path, os.getcwd()) for path in paths]
    files = _files(chosen, wanted)
    names = _names(chosen, files, folder)
    units = [unit for unit in _units(chosen, wanted) if unit.path in files]
    found = find(pipeline, chosen, units, mapper, by_window=by_window)
    tasks = _tasks(found, files, names, target)
    try:
        done: list[Cleaned] = mapper(clean_task, tasks)
        books = _books(found, output, done)
        target.publish()
    except BaseException:
        target.discard()
        raise
    return books


def _check_apart(stage: Stage, output: str) -> None:
    if any(reaches(path, output) for path in stage.paths):
        raise UsageError(
            "the output lies among the stage's own files.",
            where=output,
            action="Name a folder elsewhere: the copy would be read as well.",
        )


def _tasks(
    found: Found, files: Mapping[str, Entry], names: Mapping[str, str], target: Draft
) -> list[CleanTask]:
    """A task for each file, of all its parts; one without records has none."""
    parts: dict[str, list[Part]] = {path: [] for path in files}
    for part in found.parts:
        parts[part.unit.path].append(part)
    return [
        CleanTask(
            path, files[path].version, tuple(mine), names[path],
            found.stage, found.window, found.by_window, target,
        )
        for path, mine in parts.items()
    ]  # fmt: skip


def find(
    pipeline: Pipeline, stage: Stage, units: Sequence[Unit], mapper: Mapper, *, by_window: bool
) -> Found:
    """Find the repeats of some of a stage's units. Raises what `clean_copy` does."""
    if stage.record.opaque:
        raise DedupError(
            "its ids are hashes of 4 bytes, of which different records may have the same.",
            where=f"stage {stage.name}",
            action="Duplicates can be dropped where producers stamp their records: docs/ids.md.",
        )
    tasks = [SeenTask(unit, stage, pipeline.window, by_window=True) for unit in units]
    held: list[Held] = mapper(seen_task, tasks)
    by_windows = [each.runs for each in held]
    chosen = by_windows if by_window else [_of_all_time(runs) for runs in by_windows]
    repeated = repeats(chosen)
    parts = tuple(
        Part(unit, each.records, each.end, mine)
        for unit, each, mine in zip(units, held, repeated, strict=True)
    )
    flaws: dict[str, int] = {}
    for each in held:
        for kind, count in each.flaws.items():
            flaws[kind] = flaws.get(kind, 0) + count
    elsewhere = 0 if by_window else _distinct(by_windows) - _distinct(chosen)
    return Found(stage, pipeline.window, by_window, parts, flaws, elsewhere)


def _files(stage: Stage, wanted: Sequence[str]) -> dict[str, Entry]:
    """The stage's files by their paths; only those that are wanted, if any are named.

    Raises:
        UsageError: a path that is wanted is none of the stage's.
        SourceError: a folder is missing or cannot be listed.
    """
    there = {each.path: each for each in files_of(stage.paths, stage.options, stage.name)}
    if not wanted:
        return there
    chosen: dict[str, Entry] = {}
    for path in wanted:
        listed = [each.path for each in files_of([path], stage.options, stage.name)]
        mine = [each for each in listed if each in there]
        if not mine:
            raise UsageError(
                f"it is none of the files of stage `{stage.name}`.",
                where=path,
                action=f"These are {' and '.join(stage.paths)}.",
            )
        chosen |= {each: there[each] for each in mine}
    return dict(sorted(chosen.items()))


def _units(stage: Stage, wanted: Sequence[str]) -> list[Unit]:
    """All that is there, as a file is taken that nobody writes to any more."""
    if wanted:  # so that no other files are opened
        stage = stage.model_copy(update={"paths": tuple(wanted)})
    plan = sources.plan(stage, [], _LONG_AFTER, 0)
    for row in plan.rows:
        if row.status != "vanished":
            raise DedupError(
                f"a part of it cannot be read: {row.reason}",
                where=f"stage {stage.name}: {row.unit.path}",
                action="A copy would lack its records.",
            )
    return [replace(unit, closed=True) if unit.kind == "text" else unit for unit in plan.units]


def _of_all_time(runs: dict[Group, Bounds]) -> dict[Group, Bounds]:
    """The same without windows."""
    by_producer: dict[Group, list[Bounds]] = {}
    for (_, stream, origin), mine in runs.items():
        by_producer.setdefault((0, stream, origin), []).append(mine)
    return {group: _union(several) for group, several in by_producer.items()}


def _union(several: Sequence[Bounds]) -> Bounds:
    whole = Runs(several[0])
    for each in several[1:]:
        whole.add_runs(each)
    return whole.runs


def _distinct(units: Iterable[dict[Group, Bounds]]) -> int:
    """How many ids there are, in all groups."""
    seen: dict[Group, Runs] = {}
    for runs_of in units:
        for group, runs in runs_of.items():
            seen.setdefault(group, Runs()).add_runs(runs)
    return sum(each.size for each in seen.values())


def _books(found: Found, output: str, done: Sequence[Cleaned]) -> Books:
    read, dropped = sum(each.read for each in done), sum(each.dropped for each in done)
    expected = sum(part.records for part in found.parts)
    if read != expected:
        raise AssertionError(f"{read} records were written from, {expected} were found")
    return Books(
        found.stage.name, output, read, read - dropped, dropped, found.elsewhere, found.flaws,
        len(done),
    )  # fmt: skip


def _names(stage: Stage, paths: Iterable[str], output: str) -> dict[str, str]:
    """What each file is called below the output: as below the folder that the stage's paths name.

    Raises:
        UsageError: two would have one name.
    """
    bases = {_base(path) for path in stage.paths}
    outermost = [base for base in bases if not any(_below(base, other) for other in bases - {base})]
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for path in paths:
        plain = _plain(path)
        base = next(base for base in outermost if _below(plain, base))
        name = plain.removeprefix(base).lstrip("/") or posixpath.basename(plain)
        if taken.setdefault(name, path) != path:
            raise UsageError(
                f"two files would both be `{name}` of the copy.",
                where=f"{taken[name]}, {path}",
                action="Make one copy of each of the stage's paths (--path).",
            )
        names[path] = _stored(path, name, output)
    return names


def _below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def _stored(path: str, name: str, output: str) -> str:
    """The name as the system has it, which need not be text; other stores take text only."""
    if "://" in path or "://" in output:
        return name
    return "/".join(real_name(path).split("/")[-1 - name.count("/") :])


def _base(path: str) -> str:
    """The folder that a path names without a pattern, above all partitions `key=value`."""
    plain = _plain(path)
    folder = fixed_part(plain)[0] if is_pattern(plain) else literal(plain)
    parts = folder.split("/")
    partition = next((at for at, part in enumerate(parts) if "=" in part[1:]), len(parts))
    return "/".join(parts[:partition])


def _plain(path: str) -> str:
    """One spelling for one place."""
    path = path.removeprefix("file://").rstrip("/")
    return path if "://" in path else os.path.abspath(path)
