"""Arrow columns as parts of records: typed ones are done here, texts are left to be understood.

A column that is missing, or of a type that can be no such part, makes its unit unreadable: a wrong
guess would count every record as lost.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fidelity.decode.names import Names
from fidelity.decode.times import LAST_SECOND
from fidelity.errors import UnreadableError
from fidelity.records import PADDING, Slices

_LAST_TIME = LAST_SECOND * 1_000_000 - 1
_PER_MICROSECOND = {"s": (1_000_000, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}


@dataclass(slots=True)
class Done:
    """One part of n records, and which of them have it (None: all)."""

    values: NDArray[Any]  # integers
    valid: NDArray[np.bool_] | None = None


@dataclass(slots=True)
class Texts:
    """One part of n records, still to be read (large_binary)."""

    texts: pa.Array
    binary: bool = False  # may be raw bytes
    number: bool = False  # a number, not a string


Column = Done | Texts


def column(batch: pa.RecordBatch, name: str, where: str) -> pa.Array:
    """The column of that name; `a.b` is member b of the struct a, unless a column is called so.

    Raises:
        UnreadableError: there is none, or more than one, or what it holds is damaged.
    """
    available, parts = batch.schema.names, name.split(".")
    for head in range(len(parts), 0, -1):
        outer = ".".join(parts[:head])
        if outer in available:
            struct = batch.column(_place(outer, available, name, where))
            found = _member(struct, parts[head:], name, where)
            _check_codes(found, name, where)
            return found
    raise _missing(name, available, where)


def _member(struct: pa.Array, parts: list[str], name: str, where: str) -> pa.Array:
    for part in parts:
        names = [field.name for field in struct.type] if pa.types.is_struct(struct.type) else []
        if part not in names:
            raise _missing(name, names, where)
        struct = pc.struct_field(struct, [_place(part, names, name, where)])
    return struct


def _place(part: str, names: list[str], name: str, where: str) -> int:
    if names.count(part) > 1:
        raise UnreadableError(
            f"The column `{name}` is there twice.",
            where=where,
            action="Say under `record:` which column holds it, or mend the files.",
        )
    return names.index(part)


def _check_codes(array: pa.Array, name: str, where: str) -> None:
    """Arrow takes a dictionary's codes from the file as they are, and reads beyond its end."""
    if not pa.types.is_dictionary(array.type) or array.null_count == len(array):
        return
    codes = pc.min_max(array.indices)
    if codes["min"].as_py() < 0 or codes["max"].as_py() >= len(array.dictionary):
        raise UnreadableError(
            f"The column `{name}` is damaged: it points at values that its dictionary lacks.",
            where=where,
        )


def _missing(name: str, available: list[str], where: str) -> UnreadableError:
    return UnreadableError(
        f"There is no column `{name}`; there is {', '.join(available) or 'none'}.",
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


def id_column(array: pa.Array, encoding: str) -> Column | None:
    """Ids; signed integers of 32 bits wrap around. None: not a type for ids."""
    array = _plain(array)
    kind = array.type
    if pa.types.is_null(kind):
        return _nothing(len(array))
    if pa.types.is_integer(kind) and encoding != "opaque":
        if kind == pa.uint32() and array.null_count == 0:
            return Done(np.asarray(array))
        values, valid = _integers(array)
        if kind == pa.int32():
            values &= 0xFFFFFFFF
        valid &= values >= 0
        if encoding == "sequence":
            values &= 0xFFFFFFFF
        return Done(values, valid & (values <= 0xFFFFFFFF))
    return _written(array) if _is_whole(kind) else _texts(array)


def time_column(array: pa.Array, unit: str) -> Column | None:
    """Times in microseconds; one without a zone is UTC. None: not a type for times."""
    array = _plain(array)
    kind = array.type
    if pa.types.is_null(kind):
        return _nothing(len(array))
    if pa.types.is_date(kind):
        array, unit = array.cast(pa.timestamp("ms")).cast(pa.int64()), "ms"
    elif pa.types.is_timestamp(kind):
        array, unit = array.cast(pa.int64()), kind.unit
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _written(array)
    elif not pa.types.is_integer(kind) or unit == "iso":
        return _texts(array)
    if array.null_count == 0 and _PER_MICROSECOND.get(unit) == (1, 1) and kind != pa.uint64():
        values = np.asarray(array).astype(np.int64, copy=False)
        if len(values) and values.min() >= 0 and values.max() <= _LAST_TIME:
            return Done(values)  # as they are
    values, valid = _integers(array)
    times, sane = microseconds(values, unit)
    return Done(times, valid & sane)


class NameColumn:
    """A column of names: a dictionary's are looked up once, as long as batches share it."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._dictionary: pa.Array | None = None
        self._codes: NDArray[np.int32] | None = None

    def of(self, array: pa.Array) -> Column | None:
        """Texts, or codes, if there is a dictionary. None: not a type for names."""
        if pa.types.is_null(array.type):
            return _nothing(len(array))
        if pa.types.is_dictionary(array.type):
            return self._picked(array)
        return _name_texts(array)

    def _picked(self, array: pa.DictionaryArray) -> Column | None:
        dictionary = array.dictionary
        if self._dictionary is None or not dictionary.equals(self._dictionary):
            inner = _name_texts(dictionary)
            if inner is None:
                return None
            codes = self._names.codes(inner.texts) if isinstance(inner, Texts) else None
            self._dictionary, self._codes = dictionary, codes
        return _picked(self._codes, array)


def _name_texts(array: pa.Array) -> Column | None:
    if pa.types.is_null(array.type):
        return _nothing(len(array))
    array = _plain(array)
    return _written(array) if _is_whole(array.type) else _texts(array)


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
    sane = (scaled >= 0) & (scaled <= _LAST_TIME // step)
    return np.where(sane, scaled, 0) * step, sane


def padded(texts: pa.Array) -> tuple[NDArray[np.uint8], Slices]:
    """A large_binary array's bytes with PADDING after them, and where each text is."""
    if len(texts) == 0:
        return np.zeros(PADDING, np.uint8), Slices(np.zeros(0, np.int64), np.zeros(0, np.int64))
    _, offsets_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    size = int(offsets[-1] - offsets[0])
    data = np.zeros(size + PADDING, np.uint8)
    if size:
        data[:size] = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    starts = offsets[:-1]
    if texts.null_count:
        starts = np.where(_valid(texts), starts, -1)
    return data, Slices(starts, offsets[1:])


def _plain(array: pa.Array) -> pa.Array:
    """Without its dictionary or extension type."""
    if isinstance(array, pa.ExtensionArray):
        is_uuid = getattr(array.type, "extension_name", "") == "arrow.uuid"
        return _uuid_text(array.storage) if is_uuid else _plain(array.storage)
    if pa.types.is_dictionary(array.type):
        return _plain(array.dictionary_decode())
    return array


def _uuid_text(storage: pa.Array) -> pa.Array:
    """16 bytes each as a UUID is written, so that they equal the text of another stage."""
    bare = pc.binary_join_element_wise  # the five groups of its digits, dashes between them
    digits = pa.array([None if one is None else one.hex() for one in storage.to_pylist()])
    groups = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
    return bare(*(pc.utf8_slice_codeunits(digits, a, b) for a, b in groups), "-")


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0))


def _written(array: pa.Array) -> Texts:
    """Numbers as their decimal digits."""
    return Texts(array.cast(pa.string()).cast(pa.large_binary()), number=True)


def _texts(array: pa.Array) -> Texts | None:
    """Strings and bytes; None if the array holds neither."""
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return Texts(array.cast(pa.large_binary()))
    if (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        return Texts(array.cast(pa.large_binary()), binary=True)
    return None


def _valid(array: pa.Array) -> NDArray[np.bool_]:
    if array.null_count == 0:
        return np.ones(len(array), np.bool_)
    return np.array(array.is_valid(), np.bool_)


def _integers(array: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Integers as int64, and which there are; a uint64 beyond that is none."""
    valid = _valid(array)
    values = np.asarray(array.fill_null(0) if array.null_count else array)
    if values.dtype == np.uint64:
        valid &= values < np.uint64(1 << 63)
    return values.astype(np.int64), valid


def _nothing(count: int) -> Done:
    return Done(np.zeros(count, np.int64), np.zeros(count, np.bool_))


def _picked(codes: NDArray[np.int32] | None, array: pa.DictionaryArray) -> Done:
    """The codes of a dictionary's values, for each row; a code of -1 is none."""
    if codes is None or not len(codes):
        return _nothing(len(array))
    if array.null_count == 0:
        values = codes.take(np.asarray(array.indices))
        return Done(values, None if codes.min() >= 0 else values >= 0)
    values = codes.take(np.asarray(array.indices.fill_null(0)))
    return Done(values, _valid(array) & (values >= 0))
