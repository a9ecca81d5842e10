"""Addresses: where the file of a unit is now, which may have been renamed, rotated or compressed.

The ledger knows of every move up to the last scan; a look at the stage tells of later ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fidelity.config import Stage
from fidelity.errors import SourceError
from fidelity.sources import plan
from fidelity.sources.lineage import known_files
from fidelity.units import LedgerRow, Unit

Addresses = dict[tuple[str, str], Unit]
"""By (stage, file): a unit that has the file's newest path, version and fingerprint."""


def known_addresses(ledger: Iterable[LedgerRow]) -> Addresses:
    """Where each text file was when it was last looked at."""
    by_stage: dict[str, list[LedgerRow]] = {}
    for row in ledger:
        by_stage.setdefault(row.unit.stage, []).append(row)
    return {
        (stage, known.file): known.last.unit
        for stage, rows in by_stage.items()
        for known in known_files(rows)
    }


def new_addresses(stage: Stage, ledger: Sequence[LedgerRow], now: int, settle: int) -> Addresses:
    """Where those text files are that moved or changed since the ledger's last look.

    Nothing if the stage cannot be looked at.
    """
    rows = [row for row in ledger if row.unit.stage == stage.name]
    try:
        found = plan(stage, rows, now, settle)
    except SourceError:
        return {}
    moved = [row.unit for row in found.rows if row.status == "read"]
    texts = (unit for unit in (*found.units, *moved) if unit.kind == "text")
    return {(stage.name, unit.file): unit for unit in texts}


def at(row: LedgerRow, addresses: Addresses) -> LedgerRow:
    """The row with its unit as it can be found by these addresses."""
    now = addresses.get((row.unit.stage, row.unit.file)) if row.unit.kind == "text" else None
    if now is None:
        return row
    unit = replace(
        row.unit,
        path=now.path,
        version=now.version,
        fingerprint=now.fingerprint,
        fingerprint_bytes=now.fingerprint_bytes,
    )
    return replace(row, unit=unit)
