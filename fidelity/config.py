"""The pipeline file: its whole schema, and nothing below this module sees a dict.

Invariant: a Pipeline that exists is valid. Every problem of a file is told at once, with its path.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Format = Literal["json", "text", "parquet", "manifest"]
Encoding = Literal["auto", "hex", "int", "sequence", "opaque"]
TimeUnit = Literal["auto", "iso", "s", "ms", "us", "ns"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(_Model):
    """Where one value of a record is found. Exactly one of the places is set.

    In YAML a bare string is a field: `id: fid`. `id: content` hashes the payload.
    """

    field: str | None = None  # JSON member, or pointer if it starts with "/"; text: key=value; column
    header: str | None = None  # Kafka header
    regex: str | None = None  # text or JSON line: the pattern's one group
    path: str | None = None  # pattern on the file's path, one group
    constant: str | None = None
    builtin: Literal["key", "timestamp", "topic", "content", "line_start"] | None = None  # `from:`
    encoding: Encoding = "auto"  # id only
    unit: TimeUnit = "auto"  # time only


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
        raise NotImplementedError


class Stage(_Model):
    """One place the records pass."""

    name: str
    kind: Literal["files", "kafka", "manifests"]
    after: str | None = None  # None for the source
    paths: tuple[str, ...] = ()  # globs; local, s3://, hdfs://
    brokers: str = ""
    topics: tuple[str, ...] = ()
    record: RecordSpec = RecordSpec()  # merged with the pipeline's
    options: dict[str, str] = {}  # client settings: Kafka's, or the object store's
    keep_streams: tuple[str, ...] | None = None  # contract: only these pass this edge
    keep_origins: tuple[str, ...] | None = None
    sample: int = 1  # contract: only ids divisible by this pass


class Targets(_Model):
    """Shares between 0 and 1."""

    completeness: float = 1.0
    duplicates: float = 0.0
    unexpected: float = 0.0
    flaws: float | None = None


class Pipeline(_Model):
    """One audited pipeline. Times are microseconds."""

    name: str
    store: str
    window: int = 600_000_000
    settle: int = 1_800_000_000
    stages: tuple[Stage, ...] = ()  # a stage comes after the one named by its `after`
    targets: Targets = Targets()
    stream_targets: dict[str, Targets] = {}
    workers: int = 0  # 0: as many as there are cores
    store_options: dict[str, str] = {}

    @property
    def source(self) -> Stage:
        """The first stage, the reference."""
        return self.stages[0]

    def stage(self, name: str) -> Stage:
        """The stage of that name. Raises UsageError with the nearest name."""
        raise NotImplementedError

    def targets_for(self, stream: str) -> Targets:
        """The targets of one stream."""
        return self.stream_targets.get(stream, self.targets)
