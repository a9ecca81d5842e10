"""Where a star lies: its files by table and day, written whole or not at all.

    star.json                                   what this folder is: format and version
    dim_run/<part>.parquet                      written last: from then on the run is published
    dim_statement/<part>.parquet
    dim_stage/, dim_stream/, dim_window/
    fact_balance/day=2026-03-01/<part>.parquet  and the other facts

A part's name begins with the time it was written at, so names sort by time.
"""

import io
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from fidelity.config import mask
from fidelity.errors import StoreError
from fidelity.sources.filesystem import Filesystem, filesystem
from fidelity.star.schema import TABLES, VERSION, Table
from fidelity.store.storage import Kind, told

FORMAT = "Fidelity star"
ENDING = ".parquet"
NO_DAY = "1970-01-01"
"""The folder of the facts' empty files: a pattern that finds no file is an error to many tools."""

ANEW = "Remove its folder, and publish the runs again: `fidelity store runs` lists them."
"""What to do with a star that is damaged: all that it holds is in the runs that were kept."""

_STAR = Kind(
    "star",
    "`star:` under `publish:`",
    "It can be read as it is; `fidelity publish` needs a folder that it can write.",
    ANEW,
)
_STREAMS = 16  # requests at once to a store that is far away
T = TypeVar("T")
U = TypeVar("U")


class Gone(Exception):  # noqa: N818 - an answer to act upon, not a failure
    """A file that was listed is not there any more: somebody else cleared it away."""


@dataclass(frozen=True, slots=True)
class Place:
    """The address of a star."""

    uri: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def files(self) -> Filesystem:
        """The store that it lies in."""
        return filesystem(self.uri, self.options)

    @property
    def local(self) -> bool:
        """On this machine's disks."""
        return "://" not in self.uri

    @property
    def grace(self) -> float:
        """Seconds from when files count no more until they are removed.

        Who has listed them may open them yet, and the lists that one query makes one after the
        other tell of the same files.
        """
        return 0.2 if self.local else 2.0

    def prepare(self) -> None:
        """Make an empty star, unless one is there.

        Raises:
            StoreError: something else is there, a newer star, or it cannot be written.
        """
        if self._found():
            return
        for table in TABLES:
            day = NO_DAY if table.by_day else None
            self.write(table, "none", table.schema.empty_table(), day=day)
        about = {"format": FORMAT, "version": VERSION}
        with told(self.uri, "written", _STAR):
            self.files.write(f"{self.uri}/star.json", f"{json.dumps(about)}\n".encode())

    def check(self) -> None:
        """Raises StoreError: there is no star here."""
        if not self._found():
            action = "Check `star:` in the pipeline file; `fidelity publish` makes one."
            raise StoreError("there is no star here yet.", where=mask(self.uri), action=action)

    def _found(self) -> bool:
        with told(self.uri, "read", _STAR):
            if self.files.stat(f"{self.uri}/star.json") is not None:
                with self.files.open(f"{self.uri}/star.json") as file:
                    self._check_about(file.read())
                return True
            about = self.files.stat(self.uri)
            names = set() if about is None else set(self.names())
        known = {"catalog.duckdb", *(table.name for table in TABLES)}
        odd = {name for name in names - known if not name.startswith(".")}
        if odd or (about is not None and not about.folder):
            raise StoreError(
                "this is not a star, and not an empty folder.",
                where=mask(self.uri),
                action="Name a new or empty folder as `star:` under `publish:`.",
            )
        return False

    def _check_about(self, content: bytes) -> None:
        try:
            about = json.loads(content)
            version = int(about["version"]) if about["format"] == FORMAT else 0
        except (ValueError, KeyError, TypeError):
            version = 0
        if not 1 <= version <= VERSION:
            what = f"a newer Fidelity wrote this star (version {version})." if version else ""
            raise StoreError(
                what or "this is not a star.",
                where=mask(self.uri),
                action="Update Fidelity, or name a new folder as `star:` under `publish:`.",
            )

    def names(self, folder: str = "") -> list[str]:
        """The names in a folder of the star, sorted; none if it is not there."""
        with told(self.uri, "read", _STAR):
            try:
                found = self.files.children(f"{self.uri}/{folder}".rstrip("/"))
            except FileNotFoundError:
                return []
        return sorted(entry.path.rstrip("/").rpartition("/")[2] for entry in found)

    def parts(self, table: Table) -> list[str]:
        """The parts of a dimension."""
        names = self.names(table.name)
        return [n.removesuffix(ENDING) for n in names if n.endswith(ENDING) and n[0] != "."]

    def path(self, table: Table, part: str, day: str | None = None) -> str:
        """The address of a part's file."""
        folder = f"{table.name}/day={day}" if table.by_day else table.name
        return f"{self.uri}/{folder}/{part}{ENDING}"

    def write(self, table: Table, part: str, *groups: pa.Table, day: str | None = None) -> None:
        """Write a part's file, or replace it; each of `groups` is at least one row group.

        Raises StoreError.
        """
        out = io.BytesIO()
        with pq.ParquetWriter(out, table.schema, compression="zstd", version="2.6") as writer:
            for rows in groups:
                writer.write_table(rows)
        with told(self.uri, "written", _STAR):
            self.files.write(self.path(table, part, day), out.getvalue())

    def read(self, table: Table, part: str, day: str | None = None) -> pa.Table:
        """The rows of a part's file. Raises StoreError and Gone."""
        path = self.path(table, part, day)
        with told(path, "read", _STAR), self._opened(path) as file:
            # Small files: threads would take longer to start than to read.
            return pq.ParquetFile(file).read(use_threads=False).cast(table.schema)

    def _opened(self, path: str) -> pa.NativeFile:
        try:
            return self.files.open(path)
        except FileNotFoundError:
            raise Gone(path) from None

    def read_all(self, table: Table) -> pa.Table:
        """A dimension, with the part that each row is in as `file`. Raises StoreError and Gone."""
        parts = self.parts(table)
        found = [
            rows.append_column("file", pa.repeat(pa.scalar(part), len(rows)))
            for part, rows in zip(
                parts, self.each(lambda p: self.read(table, p), parts), strict=True
            )
        ]
        empty = table.schema.append(pa.field("file", pa.string())).empty_table()
        return pa.concat_tables([empty, *found])

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, all at once; those that are gone do not matter. Raises StoreError."""
        with told(self.uri, "written", _STAR):
            self.each(self.files.remove, list(paths))

    def each(self, do: Callable[[T], U], of: Sequence[T]) -> list[U]:
        """Do something for each; many at a time where each has to wait."""
        if self.local or len(of) < 2:
            return [do(one) for one in of]
        with ThreadPoolExecutor(_STREAMS) as pool:
            return list(pool.map(do, of))


def new_part(now: int) -> str:
    """A new part's name. now: microseconds."""
    return (
        f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now):%Y%m%dT%H%M%S.%fZ}-"
        + (secrets.token_hex(4))
    )


def written_at(part: str) -> int | None:
    """When a part was named, microseconds; None for a file that is none of ours."""
    try:
        time = datetime.strptime(part.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
