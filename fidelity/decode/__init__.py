"""Decode: what was read becomes records: id, event time, stream, origin, or the kind of flaw.

The meaning is SQL (sql/decode_values.sql, sql/decode_records.sql), run by DuckDB. Kernels go before
it. Law: what they accept, the SQL accepts with equal values; the rest is the SQL's to say.
"""

import numpy as np

from fidelity.config import Place, RecordSpec, Stage
from fidelity.decode.decoder import Decoder
from fidelity.decode.names import Names
from fidelity.decode.places import (
    columns_needed,
    headers_needed,
    key_needed,
    names_needed,
    places,
    value_needed,
)
from fidelity.records import PADDING, Lines, Slices
from fidelity.units import Unit

__all__ = [
    "Decoder",
    "Names",
    "columns_needed",
    "decoder",
    "headers_needed",
    "key_needed",
    "names_needed",
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
    unit = Unit("warm", "warm", "text", "warm", 0, 1)
    spec = RecordSpec(id=Place(field="fid", encoding="sequence"))
    whole = b'{"fid":1,"ts":"2026-01-01T00:00:00Z","stream":"s","origin":"o"}{'
    line = Slices(np.array([0, len(whole) - 1]), np.array([len(whole) - 1, len(whole)]))
    places = np.zeros(2, np.int64)
    buffer = np.frombuffer(whole + bytes(PADDING), np.uint8)
    names = Names()
    decoding = decoder(Stage(name="warm", kind="files", record=spec), unit, names)
    decoding.decode(Lines(buffer, line, places, places, places))
    names.grow()
