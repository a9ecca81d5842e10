"""The schema of a pipeline. Frozen; keys that it does not have are refused.

Invariant: a Pipeline that exists has one source, and every stage comes after the one it names.
"""

import hashlib
import os
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fidelity.config.masking import mask
from fidelity.config.values import nearest, regex
from fidelity.errors import ConfigError, UsageError

Format = Literal["json", "text", "parquet", "manifest"]
Encoding = Literal["auto", "hex", "int", "sequence", "opaque"]
TimeUnit = Literal["auto", "iso", "s", "ms", "us", "ns"]
Builtin = Literal["key", "timestamp", "topic", "content", "line_start"]
Kind = Literal["files", "kafka", "manifests"]
EngineKind = Literal["local", "spark"]
Over = Literal["balances", "lags", "stages", "pipeline"]

ENGINES = ("local", "spark")
ENGINE_VARIABLE = "FIDELITY_ENGINE"
PLACES = ("field", "header", "regex", "path", "constant", "builtin")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def __repr__(self) -> str:
        return mask(super().__repr__())

    def __str__(self) -> str:
        return mask(super().__str__())


class Place(_Model):
    """Where one value of a record is found. Exactly one of the places is set.

    In YAML a bare string is a field: `id: fid`. `id: content` hashes the payload.
    """

    # JSON member, or pointer if it starts with "/"; text: key=value; Parquet: column
    field: str | None = None
    header: str | None = None  # Kafka header
    regex: str | None = None  # text or JSON line: the pattern's one group
    path: str | None = None  # pattern on the file's path, one group
    constant: str | None = None
    builtin: Builtin | None = None  # `from:`
    encoding: Encoding = "auto"  # id only
    unit: TimeUnit = "auto"  # time only

    @model_validator(mode="after")
    def _one_place(self) -> "Place":
        given = [name for name in PLACES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(PLACES)}, not {given or 'none'}")
        for pattern in (self.regex, self.path):
            if pattern is not None:
                regex(pattern)
        return self


class RecordSpec(_Model):
    """What a record of a stage looks like."""

    format: Format = "json"
    id: Place = Place(field="fid")
    time: Place = Place(field="ts")
    stream: Place = Place(field="stream")
    origin: Place = Place(field="origin")

    @property
    def opaque(self) -> bool:
        """Ids that cannot be turned back into sequence numbers."""
        return self.id.encoding == "opaque" or self.id.builtin == "content"

    def digest(self, window: int) -> str:
        """A short digest of all that observations depend on (spec and window, microseconds)."""
        # Only what differs from the defaults, so that a key added later changes no digest.
        text = f"{window} {self.model_dump_json(exclude_defaults=True)}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Stage(_Model):
    """One place the records pass."""

    name: str
    kind: Kind
    after: str | None = None  # None for the source
    paths: tuple[str, ...] = ()  # globs; local, s3://, hdfs://
    brokers: str = ""
    topics: tuple[str, ...] = ()
    record: RecordSpec = RecordSpec()  # merged with the pipeline's
    # Client settings: Kafka's, or the object store's. They hold secrets: never in a repr.
    options: dict[str, str] = Field(default={}, repr=False)
    keep_streams: tuple[str, ...] | None = None  # contract: only these pass this edge
    keep_origins: tuple[str, ...] | None = None
    sample: int = Field(default=1, ge=1)  # contract: only ids divisible by this pass


class LagTarget(_Model):
    """So many of a stage's records must have come so soon after they happened."""

    quantile: str = "p99"  # p50, p99, p99.9, ...; max is every record
    most: int = Field(ge=0)  # microseconds
    stage: str | None = None  # None: every stage after the source that has none of its own

    @property
    def share(self) -> Fraction:
        """Of the records, above 0 and at most 1."""
        return Fraction(1) if self.quantile == "max" else Fraction(self.quantile[1:]) / 100


class Targets(_Model):
    """Shares between 0 and 1; durations in microseconds."""

    completeness: float = Field(default=1.0, ge=0, le=1)
    duplicates: float = Field(default=0.0, ge=0, le=1)
    unexpected: float = Field(default=0.0, ge=0, le=1)
    flaws: float | None = Field(default=None, ge=0, le=1)  # of a stage, whatever the stream
    lag: tuple[LagTarget, ...] = ()
    watermark_age: int | None = Field(default=None, ge=0)  # of the pipeline

    def lag_at(self, stage: str, source: bool) -> tuple[LagTarget, ...]:
        """What holds at a stage: its own, else what holds at every stage after the source."""
        own = tuple(each for each in self.lag if each.stage == stage)
        return own or tuple(each for each in self.lag if each.stage is None and not source)


class Expectation(_Model):
    """One that the user added, by Great Expectations' own name."""

    name: str  # expect_column_values_to_be_between
    # As the file has them: texts, lists and mappings. What a text means depends on the column.
    arguments: dict[str, Any] = Field(default={}, repr=False)
    over: Over = "balances"
    stages: tuple[str, ...] = ()  # none: all
    streams: tuple[str, ...] = ()  # none: all


class Engine(_Model):
    """Who reads: processes of this machine, or the tasks of a Spark cluster."""

    kind: EngineKind = "local"
    master: str | None = None  # Spark's; None: of the session that is there, else all cores here
    conf: dict[str, str] = Field(default={}, repr=False)  # Spark's; may hold secrets


def default_engine() -> Engine:
    """What the environment says, for pipeline files that say nothing. Raises ConfigError."""
    name = os.environ.get(ENGINE_VARIABLE) or "local"
    if name not in ENGINES:
        raise ConfigError(
            f"`{name}` is not one of {', '.join(ENGINES)}.",
            where=f"environment variable {ENGINE_VARIABLE}",
            action=nearest(name, ENGINES),
        )
    return Engine.model_validate({"kind": name})


class OpenMetrics(_Model):
    """Where metrics go as OpenMetrics text. What is empty is not written."""

    file: str = ""
    push: str = ""  # http(s)://, of a Pushgateway or its like
    origins: bool = False  # differences by producer, too
    options: dict[str, str] = Field(default={}, repr=False)  # username and password, or token

    @property
    def named(self) -> bool:
        """Whether they go anywhere."""
        return bool(self.file or self.push)


class OpenTsdb(_Model):
    """Where metrics go as OpenTSDB data points. What is empty is not written."""

    file: str = ""
    tcp: str = ""  # host:port
    http: str = ""  # http(s)://
    origins: bool = False
    options: dict[str, str] = Field(default={}, repr=False)

    @property
    def named(self) -> bool:
        """Whether they go anywhere."""
        return bool(self.file or self.tcp or self.http)


class Publish(_Model):
    """Where a run goes besides the store. What is empty is not written."""

    star: str = ""  # the folder of the Parquet star: local path, s3://, gs://, hdfs://
    # Settings of the star's file system. They hold secrets: never in a repr.
    options: dict[str, str] = Field(default={}, repr=False)
    openmetrics: OpenMetrics = OpenMetrics()
    opentsdb: OpenTsdb = OpenTsdb()


class Pipeline(_Model):
    """One audited pipeline. Times are microseconds."""

    name: str
    store: str
    window: int = Field(default=600_000_000, gt=0)
    settle: int = Field(default=1_800_000_000, ge=0)
    # A producer silent for longer counts as retired at its last record. None: never.
    retire_after: int | None = Field(default=None, ge=0)
    stages: tuple[Stage, ...] = ()  # a stage comes after the one named by its `after`
    targets: Targets = Targets()
    stream_targets: dict[str, Targets] = {}
    expectations: tuple[Expectation, ...] = ()
    workers: int = Field(default=0, ge=0)  # 0: as many as there are cores
    engine: Engine = Field(default_factory=default_engine)
    store_options: dict[str, str] = Field(default={}, repr=False)
    publish: Publish = Publish()

    @model_validator(mode="after")
    def _a_tree(self) -> "Pipeline":
        problems = tree_problems([(stage.name, stage.after) for stage in self.stages])
        if problems:
            raise ValueError("; ".join(f"{name}: {what}" for name, _, what in problems))
        seen: set[str | None] = {None}
        for stage in self.stages:
            if stage.after not in seen:
                raise ValueError(f"{stage.name} stands before the stage it comes after")
            seen.add(stage.name)
        return self

    @property
    def source(self) -> Stage:
        """The first stage, the reference."""
        return self.stages[0]

    def stage(self, name: str) -> Stage:
        """The stage of that name. Raises UsageError with the nearest name."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        names = [stage.name for stage in self.stages]
        advice = nearest(name, names) or f"The stages are {', '.join(names)}."
        raise UsageError(f"there is no stage `{name}`.", where=self.name, action=advice)

    def targets_for(self, stream: str) -> Targets:
        """The targets of one stream."""
        return self.stream_targets.get(stream, self.targets)


def tree_problems(edges: Sequence[tuple[str, str | None]]) -> list[tuple[str, str, str]]:
    """What keeps (name, after) pairs from being one tree: (stage, key, what) for each problem."""
    names = [name for name, _ in edges]
    after = dict(edges)
    problems = [
        (name, "", "this name is given twice")
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    roots = [name for name in after if after[name] is None]
    problems += [
        (name, "", f"a second stage without `after`: only one, here {roots[0]}, is the source")
        for name in roots[1:]
    ]
    for name, before in after.items():
        if before is not None and before not in after:
            advice = nearest(before, [other for other in names if other != name])
            problems.append((name, "after", f"there is no stage `{before}`. {advice}".rstrip()))
        elif name == "source" and before is not None:
            what = "only the first stage may be named `source`, this one comes after another"
            problems.append((name, "", what))
    problems += [(name, "after", f"a cycle: {loop}") for name, loop in _cycles(after)]
    return problems


def _cycles(after: dict[str, str | None]) -> list[tuple[str, str]]:
    """Each cycle once, as (a stage on it, the way round)."""
    told: set[str] = set()
    found = []
    for start in after:
        trail: list[str] = []
        name: str | None = start
        while name is not None and name in after and name not in trail and name not in told:
            trail.append(name)
            name = after[name]
        if name is not None and name in trail:
            loop = trail[trail.index(name) :]
            found.append((loop[0], " comes after ".join([*loop, loop[0]])))
        told.update(trail)
    return found
