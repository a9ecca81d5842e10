"""The store: a ledger of units and their observations, two Delta tables of one pipeline.

Invariant: an observation counts only if its (scan, unit) is in force in the ledger. Observations
are committed first and units last, so what dies in between has counted for nothing. A stage's
commits are numbered by a Delta application transaction, so of two scans at once the later one
conflicts.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, Transaction

from fidelity.config import mask
from fidelity.errors import ConfigError, StoreError
from fidelity.observe.observations import OBSERVATIONS, write_options
from fidelity.sources.filesystem import filesystem
from fidelity.store.delta import Conflict, DataFile, Table
from fidelity.store.ledger import UNITS, table_of
from fidelity.store.snapshot import MERGED, MERGED_UNIT, Snapshot
from fidelity.store.storage import told
from fidelity.units import LedgerRow

__all__ = ["MERGED", "MERGED_UNIT", "Conflict", "DataFile", "Snapshot", "Store"]

FORMAT = "Fidelity store, format 1"

_TRIES = 20  # commits of other stages come in between; each try takes milliseconds
_PLAIN = [column.name for column in OBSERVATIONS if not pa.types.is_nested(column.type)]
OBSERVATION_FILE = {**write_options(), "write_statistics": _PLAIN}
UNITS_FILE = {"compression": "zstd"}


@dataclass(frozen=True, slots=True)
class Store:
    """The address of a store; opens its tables anew for every question, so it may be pickled."""

    uri: str
    pipeline: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls, uri: str, pipeline: str, options: Mapping[str, str] | None = None, create: bool = True
    ) -> "Store":
        """The store at an address; made there, unless told not to, if nothing is there yet.

        Args:
            uri: local folder, s3://, gs:// or hdfs://.
            pipeline: the name of the pipeline that the store belongs to.
            options: object store settings, as under `options:` in the pipeline file.

        Raises:
            StoreError: something else is there, or another pipeline's store, or it cannot be
                reached.
        """
        return cls._opened(uri, pipeline, options, create)[0]

    @classmethod
    def seen(
        cls,
        uri: str,
        pipeline: str,
        options: Mapping[str, str] | None = None,
        known_at: int | datetime | None = None,
    ) -> tuple["Store", Snapshot]:
        """`open`, without making anything, and `at` in one: the ledger is opened but once."""
        store, ledger = cls._opened(uri, pipeline, options, create=False)
        if known_at is not None:
            return store, store.at(known_at)
        return store, Snapshot(store.units, store.observations_table, ledger)

    @classmethod
    def _opened(
        cls, uri: str, pipeline: str, options: Mapping[str, str] | None, create: bool
    ) -> tuple["Store", DeltaTable]:
        place = uri.removeprefix("file://").rstrip("/")
        if "://" not in place:
            place = os.path.abspath(place)
        store = cls(place, pipeline, dict(options or {}))
        store._refuse_silence()
        if not store.units.exists():
            if not create:
                raise StoreError(
                    "there is no store here yet.",
                    where=mask(uri),
                    action="Check `store:` in the pipeline file; `fidelity scan` makes one.",
                )
            store._refuse_anything_else()
            store.observations_table.create(pipeline, FORMAT)
            store.units.create(pipeline, FORMAT)
        ledger = store.units.open()
        store._check_owner(ledger)
        return store, ledger

    @property
    def units(self) -> Table:
        """The ledger."""
        return Table(f"{self.uri}/units", UNITS, self.options)

    @property
    def observations_table(self) -> Table:
        """What the units' reading told, counted or not."""
        return Table(f"{self.uri}/observations", OBSERVATIONS, self.options)

    def _refuse_silence(self) -> None:
        """deltalake waits for ever for a name node that hangs."""
        if self.uri.startswith("hdfs://"):
            with told(self.uri, "read"):
                filesystem(self.uri, self.options).stat(self.uri)

    def _refuse_anything_else(self) -> None:
        """A first scan must not settle down among somebody's log files."""
        place = filesystem(self.uri, self.options)
        with told(self.uri, "read"):
            about = place.stat(self.uri)
            if about is None:
                return
            if not about.folder:
                raise StoreError(
                    "this is a file, and a store is a folder.",
                    where=mask(self.uri),
                    action="Name a new or empty folder as `store:`.",
                )
            names = {
                entry.path.rstrip("/").rpartition("/")[2] for entry in place.children(self.uri)
            }
        if names - {"units", "observations", "runs", "traces", "checks"}:
            raise StoreError(
                "this folder holds other things than a store.",
                where=mask(self.uri),
                action="Name a new or empty folder as `store:`.",
            )

    def _check_owner(self, ledger: DeltaTable) -> None:
        about = ledger.metadata()
        if about.description != FORMAT:
            raise StoreError(
                "this is not a store that this version of Fidelity can use.", where=mask(self.uri)
            )
        if about.name != self.pipeline:
            raise StoreError(
                f"this store belongs to the pipeline `{about.name}`, not to `{self.pipeline}`.",
                where=mask(self.uri),
                action="Give each pipeline a `store:` of its own.",
            )

    def at(self, known_at: int | datetime | None = None) -> Snapshot:
        """What the store knows now, or knew at a version of the ledger or a moment.

        Raises:
            StoreError: there is no such version (any more), or the store cannot be read.
        """
        try:
            return Snapshot(self.units, self.observations_table, self.units.open(known_at))
        except StoreError as error:
            if known_at is None:
                raise
            raise StoreError(
                f"what was known at {known_at} cannot be told: {error.what}",
                where=mask(self.uri),
                action=f"The newest version is {self.version()}; compacting drops old ones.",
            ) from error

    def version(self) -> int:
        """The ledger's newest version."""
        version: int = self.units.open().version()
        return version

    def ledger(self, stage: str, known_at: int | datetime | None = None) -> list[LedgerRow]:
        """A stage's rows in force: for each key the row of the highest commit.

        Of LOOKED the last row of each status: a look that failed does not undo an earlier one.
        """
        return self.at(known_at).ledger(stage)

    def observations(self, known_at: int | datetime | None = None) -> ds.Dataset:
        """All observations that were made; those in force are the ones that count."""
        return self.at(known_at).observations()

    def write_observations(self, scan: str, batches: Iterable[pa.RecordBatch]) -> DataFile | None:
        """Write observations into a data file of their own; None if there are none.

        They count for nothing until they are committed.
        """
        name = f"{scan}-{uuid4().hex[:12]}.parquet"
        return self.observations_table.write(name, batches, OBSERVATION_FILE)

    def discard(self, scan: str, keep: Iterable[str] = ()) -> None:
        """Remove the data files of a scan that will not be committed."""
        kept = set(keep)
        place = filesystem(self.uri, self.options)
        try:
            found = [entry.path for entry in place.children(self.observations_table.uri)]
        except OSError:
            return
        names = [path.rstrip("/").rpartition("/")[2] for path in found]
        self.observations_table.discard(
            name for name in names if name.startswith(f"{scan}-") and name not in kept
        )

    def commit(
        self,
        scan: str,
        stage: str,
        rows: Sequence[LedgerRow],
        files: Sequence[DataFile],
        based_on: int,
    ) -> int:
        """Commit what a scan read of one stage, all or nothing: its rows become the last word.

        Args:
            scan: the scan, for the rows that name none.
            rows: what became of each unit; at least one.
            files: the data files that hold the observations of the rows read.
            based_on: the highest commit of the ledger that the scan was planned with, 0 for none.

        Returns:
            This commit's number in the stage.

        Raises:
            Conflict: another scan of the stage has committed since; nothing was counted.
            StoreError: it cannot be written; nothing was counted.
        """
        if self.frontier(stage) != based_on:
            raise Conflict(stage)
        observed = self._add_observations(files)
        file = self.units.write(
            f"{scan}-{uuid4().hex[:12]}.parquet",
            table_of(rows, based_on + 1, observed).to_batches(),
            UNITS_FILE,
        )
        if file is None:
            raise ValueError("a commit without rows")
        try:
            self._add_units(file, stage, based_on)
        except (Conflict, StoreError):
            self.units.discard([file.name])
            raise
        return based_on + 1

    def frontier(self, stage: str) -> int:
        """How many commits a stage has."""
        return _commits(self.units.open(), stage)

    def _add_observations(self, files: Sequence[DataFile]) -> int:
        """Commit data files; the version of `observations` that has them."""
        table = self.observations_table
        opened = table.open()
        if not files:
            version: int = opened.version()
            return version
        return table.commit(opened, files)

    def _add_units(self, file: DataFile, stage: str, based_on: int) -> None:
        """Commit the ledger's file, unless the stage has moved on."""
        transaction = Transaction(_name(stage), based_on + 1)
        for attempt in range(_TRIES):
            opened = self.units.open()
            if _commits(opened, stage) != based_on:
                raise Conflict(stage)
            try:
                self.units.commit(opened, [file], transaction=transaction)
                return
            except Conflict as error:
                if attempt == _TRIES - 1 and self.frontier(stage) == based_on:
                    raise StoreError(
                        f"the store cannot be written: {error}", where=mask(self.uri)
                    ) from error


def check_spec(stage: str, spec: str, ledger: Iterable[LedgerRow], store: Store) -> None:
    """Refuse to mix observations that were made by different record specs or windows.

    Raises:
        ConfigError: the ledger has rows of another spec.
    """
    if any(row.spec != spec for row in ledger if row.status == "read" and row.unit.kind != "stage"):
        raise ConfigError(
            f"what the store knows of stage `{stage}` was read with another `record:` or `window:` "
            "than the pipeline file has now, so the two cannot be added up.",
            where=mask(store.uri),
            action="Take the change back, or name a new `store:` and scan everything again.",
        )


def _commits(table: DeltaTable, stage: str) -> int:
    return int(table.transaction_version(_name(stage)) or 0)


def _name(stage: str) -> str:
    return f"stage:{stage}"
