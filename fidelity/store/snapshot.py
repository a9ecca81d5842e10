"""A snapshot: what the ledger knew at one version, and the observations that go with it."""

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from fidelity.store.delta import Table
from fidelity.store.ledger import last_words, rows_of
from fidelity.store.storage import told
from fidelity.units import LedgerRow

MERGED, MERGED_UNIT = "merged:", "merged"
"""How the scan of a row begins whose observations were added up with those of other units, and the
unit under which they stand."""

_FEW = 4 << 20  # bytes on disk; about 10 million in memory


@dataclass(frozen=True)
class Snapshot:
    """The ledger at one version, and the observations that go with it."""

    units: Table
    all_observations: Table
    table: DeltaTable  # the units, opened at the version

    @property
    def version(self) -> int:
        """The ledger's version."""
        version: int = self.table.version()
        return version

    def ledger(self, stage: str) -> list[LedgerRow]:
        """A stage's rows in force, see Store.ledger."""
        with told(self.units.uri, "read"):
            rows = self.units.dataset(self.table).to_table(filter=ds.field("stage") == stage)
        return rows_of(last_words(rows))

    def ledgers(self) -> dict[str, list[LedgerRow]]:
        """The rows in force of all stages, by the stage's name."""
        found: dict[str, list[LedgerRow]] = {}
        for row in rows_of(self.rows_in_force()):
            found.setdefault(row.unit.stage, []).append(row)
        return found

    def in_force(self) -> pa.Table:
        """Which observations count: stage, scan, unit; one row each.

        Observations that were merged stand under the unit `merged` of a scan of their own.
        """
        rows = self.rows_in_force()
        read = rows.filter((pc.field("status") == "read") & (pc.field("kind") != "stage"))
        merged = pc.starts_with(read["scan"], MERGED)
        unit = pc.if_else(merged, MERGED_UNIT, read["key"])
        columns = {"stage": read["stage"], "scan": read["scan"], "unit": unit}
        return pa.table(columns).group_by(list(columns)).aggregate([])

    def observations(self) -> ds.Dataset:
        """All observations that were made when the ledger had this version; not all need count.

        The version of `observations` is the newest that the ledger speaks of: what its rows need
        was there by then, and what has been cleared away by then, none of its rows needs.
        """
        return self.all_observations.dataset(self.all_observations.open(self._observed()))

    def observations_at_hand(self) -> ds.Dataset | pa.Table:
        """The same, in memory if they are few: each look at a dataset opens its files anew."""
        table = self.all_observations.open(self._observed())
        found = self.all_observations.dataset(table)
        if self.all_observations.size(table) > _FEW:
            return found
        with told(self.all_observations.uri, "read"):
            return found.to_table().combine_chunks()

    @cached_property
    def rows(self) -> pa.Table:
        """All rows of the ledger's table, in force or not; read once."""
        with told(self.units.uri, "read"):
            return self.units.dataset(self.table).to_table()

    def rows_in_force(self) -> pa.Table:
        """The rows in force of all stages, as the ledger's table has them."""
        return last_words(self.rows)

    def _observed(self) -> int:
        return int(pc.max(self.rows["observed"]).as_py() or 0)
