"""Decode: what was read becomes records: id, event time, stream, origin, or the kind of flaw.

The meaning is SQL (sql/decode_values.sql, sql/decode_records.sql), run by DuckDB. Kernels go before
it. Law: what they accept, the SQL accepts with equal values; the rest is the SQL's to say.
"""

from fidelity.config import Stage
from fidelity.decode.decoder import Decoder
from fidelity.decode.names import Names
from fidelity.decode.places import (
    columns_needed,
    headers_needed,
    key_needed,
    places,
    value_needed,
)
from fidelity.units import Unit

__all__ = [
    "Decoder",
    "Names",
    "columns_needed",
    "decoder",
    "headers_needed",
    "key_needed",
    "value_needed",
    "warm",
]


def decoder(stage: Stage, unit: Unit, names: Names) -> Decoder:
    """The decoder for the batches of one unit.

    Raises:
        ConfigError: a pattern that cannot be used, or a place that the format cannot have.
    """
    return Decoder(places(stage.record, unit), names, f"{stage.name}: {unit.path}")


def warm() -> None:
    """Compiles every kernel (or loads it from numba's cache), so that no scan waits for it."""
