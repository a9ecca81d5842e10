"""Read the lines of a text unit, in batches over one buffer that is used again and again.

Law: whatever the units a file is cut into and however large the buffer, the records are the same. A
line belongs to the unit in which it starts; a line starts at 0 or after a newline.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pyarrow as pa

from fidelity.config import Stage
from fidelity.errors import FidelityError
from fidelity.records import Lines
from fidelity.sources.compression import codec_of, head_of, skip, text_of
from fidelity.sources.filesystem import READ_AHEAD, filesystem
from fidelity.sources.fingerprint import MISTAKEN, parse, still_the_same
from fidelity.sources.globs import failure, files_of
from fidelity.sources.lineage import found_again
from fidelity.sources.lines import LineSplitter
from fidelity.sources.planning import modified_at, size_at
from fidelity.units import Unit

BATCH = 1 << 20
"""Bytes read at a time: fits the processor's cache, so that decoding finds them there."""

LONGEST = 64 << 20
"""A longer line is one malformed record, and is passed over without being kept."""

_NO_END = 1 << 62


def read(unit: Unit, stage: Stage, batch: int = BATCH, longest: int = LONGEST) -> "TextReader":
    """The lines of a unit; UnreadableError comes while they are read."""
    return TextReader(unit, stage, batch, longest)


class TextReader:
    """An iterator of Lines.

    end: for the ledger, the byte (after decompression) up to which the unit is read, valid after
    exhaustion. A last line without a newline is left for later unless the unit is closed.

    Raises (while iterating):
        UnreadableError: the file is gone, cut off, shorter than planned, or another file.
    """

    def __init__(self, unit: Unit, stage: Stage, batch: int, longest: int) -> None:
        self.end = unit.start
        self._unit, self._stage = unit, stage
        # A small file gets a small buffer.
        batch = min(batch, max(unit.size, 4096))
        self._splitter = LineSplitter(batch, longest, modified_at(unit.version))
        self._batches = self._guarded()

    def __iter__(self) -> "TextReader":
        return self

    def __next__(self) -> Lines:
        return next(self._batches)

    def _guarded(self) -> Iterator[Lines]:
        # One byte early: whether it is a newline tells if a line starts at unit.start.
        begin = max(self._unit.start - 1, 0)
        try:
            with self._opened(begin) as stream:
                yield from self._lines(stream, begin)
        except OSError as error:
            raise failure(error, self._unit.path, self._stage) from None

    @contextmanager
    def _opened(self, begin: int) -> Iterator[pa.NativeFile]:
        """The unit's text from byte `begin`, wherever its file is now."""
        with ExitStack() as files:
            try:
                text = files.enter_context(_text_of(self._unit, self._stage, begin))
            except OSError:
                moved = _moved(self._unit, self._stage)
                if moved is None:
                    raise
                self._unit = moved
                text = files.enter_context(_text_of(moved, self._stage, begin))
            yield text

    def _lines(self, stream: pa.NativeFile, begin: int) -> Iterator[Lines]:
        unit, splitter = self._unit, self._splitter
        last_start = unit.end - 1 if unit.end >= 0 else _NO_END
        yield from splitter.lines(stream, begin, unit.start > 0, last_start)
        if splitter.next_start > last_start:
            self.end = unit.end
        else:
            yield from self._rest(splitter.position)

    def _rest(self, total: int) -> Iterator[Lines]:
        """The file has ended, after `total` bytes."""
        unit, splitter = self._unit, self._splitter
        compressed = parse(unit.fingerprint, unit.fingerprint_bytes).compressed
        expected = max(unit.start, unit.end) if compressed else size_at(unit.version)
        if total < expected:
            raise OSError(None, f"ends at byte {total}, but more of it had been seen")
        self.end = unit.end if unit.end >= 0 else total
        if splitter.has_rest and unit.closed:
            yield from splitter.rest()
        elif splitter.has_rest:
            self.end = splitter.next_start


def _moved(unit: Unit, stage: Stage) -> Unit | None:
    """The unit where its file went since the plan; None if it is nowhere or out of reach."""
    if not unit.fingerprint_bytes:
        return None
    try:
        entries = files_of(stage.paths, stage.options, stage.name)
    except FidelityError:
        return None
    return found_again(unit, entries, filesystem(unit.path, stage.options))


@contextmanager
def _text_of(unit: Unit, stage: Stage, begin: int) -> Iterator[pa.NativeFile]:
    """The unit's text from byte `begin` to where the file ended when it was planned."""
    store = filesystem(unit.path, stage.options)
    planned = size_at(unit.version)
    with store.open(unit.path) as raw:
        codec = codec_of(raw.read_at(6, 0))
        if not unit.fingerprint_bytes:
            # It could not be opened when it was planned, so nothing tells what it is.
            head_of(raw, codec, raw.size())
            raise OSError(None, "could not be read when the scan was planned")
        if raw.size() < planned:
            raise OSError(None, f"is {planned - raw.size()} bytes shorter than when it was planned")
        if not still_the_same(raw, codec, parse(unit.fingerprint, unit.fingerprint_bytes), planned):
            raise OSError(None, MISTAKEN)
        if not codec:
            plain = raw.get_stream(begin, planned - begin)
            yield pa.BufferedInputStream(plain, READ_AHEAD) if store.remote else plain
            return
        stream = text_of(raw, codec, planned)
        skipped = skip(stream, begin)
        if skipped < begin:
            raise OSError(None, f"ends at byte {skipped}, but more of it had been seen")
        yield stream


def warm() -> None:
    """Compiles the kernels, or loads them from numba's cache."""
    splitter = LineSplitter(4096, LONGEST, 0)
    for _lines in splitter.lines(pa.BufferReader(b"\n a\nb"), 0, True, _NO_END):
        pass
    for _lines in splitter.rest():
        pass
