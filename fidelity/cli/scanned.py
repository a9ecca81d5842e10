"""What a scan did, as lines and as JSON."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fidelity.report import figures, iso

if TYPE_CHECKING:
    from fidelity.scan import ScanResult, StageScan
    from fidelity.units import LedgerRow

_LISTED = 10


def document(result: "ScanResult") -> dict[str, Any]:
    """The scan as JSON values."""
    return {
        "scan": result.scan,
        "scanned_at": iso(result.scanned_at),
        "version": result.version,
        "stages": [_stage(stage) for stage in result.stages],
    }


def as_lines(result: "ScanResult") -> Iterator[str]:
    """One line a stage, and one for each unit that needs a look."""
    width = max(len(stage.stage) for stage in result.stages)
    for stage in result.stages:
        yield (
            f"{stage.stage:{width}}  {figures.records(stage.records)} in"
            f" {stage.units:,} new unit{'' if stage.units == 1 else 's'}"
        )
        odd = [*stage.unreadable, *stage.noted]
        for row in odd[:_LISTED]:
            if row.unit.kind != "stage":
                yield f"{'':{width}}  {row.status}: {figures.shown(_told(row))}"
        if len(odd) > _LISTED:
            yield f"{'':{width}}  ... and {len(odd) - _LISTED:,} more"


def _stage(stage: "StageScan") -> dict[str, Any]:
    return {
        "stage": stage.stage,
        "units": stage.units,
        "records": stage.records,
        "bytes": stage.bytes,
        "unreadable": [_unit(row) for row in stage.unreadable if row.unit.kind != "stage"],
        "noted": [_unit(row) for row in stage.noted],
        "error": _error(stage),
    }


def _error(stage: "StageScan") -> str | None:
    from fidelity.config import mask

    return None if stage.error is None else mask(str(stage.error))


def _unit(row: "LedgerRow") -> dict[str, Any]:
    return {"unit": row.unit.key, "path": row.unit.path, "status": row.status, "reason": row.reason}


def _told(row: "LedgerRow") -> str:
    at = row.unit.path
    return row.reason if at in row.reason else f"{at}: {row.reason}" if row.reason else at
