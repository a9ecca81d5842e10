"""Arrow columns as parts of records: typed ones are done here, texts are left to be understood.

A column that is missing, or of a type that can be no such part, makes its unit unreadable: a wrong
guess would count every record as lost.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fidelity.decode.names import Names
from fidelity.errors import UnreadableError

LAST_TIME = 253_402_300_800_000_000
"""Microseconds: the year 10000, which no time reaches."""

_PER_MICROSECOND = {"s": (1_000_000, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}


@dataclass(slots=True)
class Column:
    """One part of n records: done (values, which of them are valid), or texts still to be read."""

    values: NDArray[np.int64] | None = None
    valid: NDArray[np.bool_] | None = None
    texts: pa.Array | None = None  # large_binary
    binary: bool = False  # texts may be raw bytes
    number: bool = False  # texts are numbers, not strings


def column(batch: pa.RecordBatch, name: str, where: str) -> pa.Array:
    """The column of that name; `a.b` is member b of the struct a, unless a column is called so.

    Raises:
        UnreadableError: there is none.
    """
    if name in batch.schema.names:
        return batch.column(name)
    parts = name.split(".")
    for head in range(len(parts) - 1, 0, -1):
        outer = ".".join(parts[:head])
        if outer in batch.schema.names and pa.types.is_struct(batch.schema.field(outer).type):
            return _member(batch.column(outer), parts[head:], name, where)
    raise _missing(name, batch.schema.names, where)


def _member(struct: pa.Array, parts: list[str], name: str, where: str) -> pa.Array:
    for part in parts:
        names = [field.name for field in struct.type] if pa.types.is_struct(struct.type) else []
        if part not in names:
            raise _missing(name, names, where)
        struct = pc.struct_field(struct, [names.index(part)])
    return struct


def _missing(name: str, available: list[str], where: str) -> UnreadableError:
    return UnreadableError(
        f"There is no column `{name}`; it has {', '.join(available) or 'none'}.",
        where=where,
        action="Say under `record:` which column holds it.",
    )


def wrong_type(name: str, part: str, kind: pa.DataType, where: str) -> UnreadableError:
    """The error for a column that cannot be read as a record's id, time, stream or origin."""
    return UnreadableError(
        f"The column `{name}` is of type {kind}, which is no {part}.",
        where=where,
        action="Say under `record:` which column holds it, or mend the files.",
    )


def plain(array: pa.Array) -> pa.Array:
    """Without its dictionary, its extension type or a view's layout."""
    if isinstance(array, pa.ExtensionArray):
        array = _uuid_text(array) if _is_uuid(array.type) else array.storage
    if pa.types.is_dictionary(array.type):
        return plain(array.dictionary_decode())
    return array


def _is_uuid(kind: pa.DataType) -> bool:
    return str(getattr(kind, "extension_name", "")) == "arrow.uuid"


def _uuid_text(array: pa.Array) -> pa.Array:
    digits = [None if value is None else value.hex() for value in array.storage.to_pylist()]
    cut = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
    return pa.array(
        [None if hexes is None else "-".join(hexes[a:b] for a, b in cut) for hexes in digits]
    )


def texts_of(array: pa.Array) -> Column | None:
    """Strings and bytes as a column of texts; None if the array holds neither."""
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return Column(texts=array.cast(pa.large_binary()))
    if (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        return Column(texts=array.cast(pa.large_binary()), binary=True)
    return None


def _valid(array: pa.Array) -> NDArray[np.bool_]:
    if array.null_count == 0:
        return np.ones(len(array), np.bool_)
    return np.asarray(array.is_valid())


def _integers(array: pa.Array) -> Column:
    """Integers as int64; a uint64 beyond that is no value."""
    valid = _valid(array)
    values = np.asarray(array.fill_null(0) if array.null_count else array)
    if values.dtype == np.uint64:
        valid &= values < np.uint64(1 << 63)
    return Column(values=values.astype(np.int64), valid=valid)


def _nothing(count: int) -> Column:
    return Column(values=np.zeros(count, np.int64), valid=np.zeros(count, np.bool_))


def _as_number(array: pa.Array) -> Column | None:
    if pa.types.is_decimal(array.type) or pa.types.is_floating(array.type):
        return Column(texts=array.cast(pa.string()).cast(pa.large_binary()), number=True)
    return None


def id_column(array: pa.Array, encoding: str) -> Column | None:
    """Ids: integers wrap to 32 bits if they are signed 32-bit ones. None: not a type for ids."""
    array = plain(array)
    if pa.types.is_null(array.type):
        return _nothing(len(array))
    if encoding == "opaque" and pa.types.is_integer(array.type):
        return Column(texts=array.cast(pa.string()).cast(pa.large_binary()))
    if pa.types.is_integer(array.type):
        done = _integers(array)
        assert done.values is not None and done.valid is not None
        if array.type == pa.int32():
            done.values &= 0xFFFFFFFF
        done.valid &= done.values >= 0
        if encoding == "sequence":
            done.values &= 0xFFFFFFFF
        done.valid &= done.values <= 0xFFFFFFFF
        return done
    if pa.types.is_decimal(array.type) and array.type.scale == 0:
        return _as_number(array)
    return texts_of(array)


def time_column(array: pa.Array, unit: str) -> Column | None:
    """Times in microseconds; one without a zone is UTC. None: not a type for times."""
    array = plain(array)
    if pa.types.is_null(array.type):
        return _nothing(len(array))
    if pa.types.is_date(array.type):
        array, step = array.cast(pa.timestamp("ms")), "ms"
    elif pa.types.is_timestamp(array.type):
        step = array.type.unit
    elif pa.types.is_integer(array.type) and unit != "iso":
        step = unit
    else:
        return _as_number(array) or texts_of(array)
    if pa.types.is_timestamp(array.type):
        array = array.view(pa.int64()) if array.offset == 0 else array.cast(pa.int64())
    done = _integers(array)
    assert done.values is not None and done.valid is not None
    done.values, sane = microseconds(done.values, step)
    done.valid &= sane
    return done


def microseconds(
    values: NDArray[np.int64], unit: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Counts of a unit (`auto`: by magnitude) as microseconds; whether a clock can show them."""
    step, divide = np.ones(1, np.int64), np.ones(1, np.int64)
    if unit == "auto":
        size = np.abs(values)
        step = np.where(size < 10**11, 1_000_000, np.where(size < 10**14, 1000, 1))
        divide = np.where(size < 10**17, 1, 1000)
    else:
        step[0], divide[0] = _PER_MICROSECOND[unit]
    scaled = values // divide
    sane = (scaled >= 0) & (scaled <= (LAST_TIME - 1) // step)
    return np.where(sane, scaled, 0) * step, sane


def name_column(array: pa.Array, names: Names) -> Column | None:
    """Names as codes; a dictionary's are looked up once. None: not a type for names."""
    if pa.types.is_dictionary(array.type):
        inner = name_column(array.dictionary, names)
        if inner is None or inner.values is None or inner.valid is None:
            return None
        known = _valid(array)
        indices = np.asarray(array.indices.fill_null(0)).astype(np.int64)
        if not len(inner.values):
            return _nothing(len(array))
        return Column(values=inner.values[indices], valid=known & inner.valid[indices])
    array = plain(array)
    if pa.types.is_null(array.type):
        return _nothing(len(array))
    if pa.types.is_integer(array.type) or (
        pa.types.is_decimal(array.type) and array.type.scale == 0
    ):
        array = array.cast(pa.string())
    texts = texts_of(array)
    if texts is None or texts.texts is None:
        return None
    codes = names.codes(texts.texts).astype(np.int64)
    return Column(values=codes, valid=codes >= 0)
