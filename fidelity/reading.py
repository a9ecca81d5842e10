"""Reading: the decoded records of one unit, the same for every purpose.

read -> decode, for scan and for trace alike, so that what is counted twice is counted alike.
"""

from collections.abc import Iterator
from typing import cast

from fidelity.config import Stage
from fidelity.decode import (
    Names,
    columns_needed,
    decoder,
    headers_needed,
    key_needed,
    names_needed,
    value_needed,
)
from fidelity.records import Lines, Records
from fidelity.sources import Reader, Wanted, read
from fidelity.sources.manifests import manifest_records
from fidelity.units import Unit


class Reading:
    """An iterator over a unit's records in batches, each valid until the next is asked for.

    Args:
        unit: what to read.
        stage: its stage.
        names: interns streams and origins.
        window: the pipeline's, microseconds.

    Raises (here or while iterating):
        UnreadableError: nothing of the unit may be counted.
        SourceError: the stage is out of reach.
    """

    def __init__(self, unit: Unit, stage: Stage, names: Names, window: int) -> None:
        self._reader = read(unit, stage, wanted(stage))
        self._records = _records(self._reader, unit, stage, names, window)

    def __iter__(self) -> Iterator[Records]:
        return self._records

    @property
    def end(self) -> int:
        """The position reached, for the ledger; valid after exhaustion."""
        return self._reader.end


def wanted(stage: Stage) -> Wanted:
    """What the decoder needs of each record of a stage."""
    spec = stage.record
    return Wanted(
        columns=columns_needed(spec),
        names=names_needed(spec),
        headers=headers_needed(spec),
        key=key_needed(spec),
        value=value_needed(spec),
    )


def _records(
    reader: Reader, unit: Unit, stage: Stage, names: Names, window: int
) -> Iterator[Records]:
    if stage.record.format == "manifest":
        for batch in reader:
            yield from manifest_records(cast(Lines, batch), names, window)
        return
    decode = decoder(stage, unit, names).decode
    for batch in reader:
        yield decode(batch)
