"""Event times of stamped lines, for the manifest: as the audit will read them, or now.

Invariant: where a time place is given, a line is claimed exactly if the audit's own decoding takes
it for a record, and in the window that it puts it in.
"""

import time
from typing import TYPE_CHECKING

import numpy as np

from fidelity.config import Place, RecordSpec, Stage
from fidelity.records import Lines, Slices
from fidelity.stamp.embed import LineFormat, Stamped
from fidelity.units import FLAWS, Unit

if TYPE_CHECKING:
    from fidelity.decode import Decoder
    from fidelity.stamp.stamper import Stamper

_FUTURE = 1 + FLAWS.index("future")


class EventTimes:
    """Tells a stamper's manifest which lines were written, and for when.

    Args:
        place: where a line's event time is; None: it is the moment of writing.
        line_format: of the lines.
    """

    def __init__(self, place: Place | None, line_format: LineFormat) -> None:
        self._place, self._format = place, line_format
        self._decoder: Decoder | None = None

    def count(self, stamper: "Stamper", stamped: Stamped, written: int) -> int:
        """Count the first `written` stamped lines; how many of them could not be claimed.

        Raises:
            StampError: see Stamper.written.
        """
        if not written or not stamper.counts:
            return 0
        ids, sizes = stamped.ids[:written], stamped.sizes[:written]
        if self._place is None:
            stamper.written(ids, sizes=sizes)
            return 0
        if self._decoder is None:
            self._decoder = self._decoding(self._place)
        records = self._decoder.decode(_lines(stamped, written))
        good = (records.flaw == 0) | (records.flaw == _FUTURE)
        stamper.written(ids[good], records.time[good], sizes[good])
        return written - int(good.sum())

    def _decoding(self, place: Place) -> "Decoder":
        # Only here: a stamper that takes the present for the event time needs none of it.
        from fidelity.decode import decoder
        from fidelity.decode.names import Names

        spec = RecordSpec(
            format=self._format,
            time=place,
            stream=Place(constant="-"),
            origin=Place(constant="-"),
        )
        stage = Stage(name="source", kind="files", paths=("-",), record=spec)
        unit = Unit(stage="source", key="-", kind="text", path="-", start=0, end=-1)
        return decoder(stage, unit, Names())


def _lines(stamped: Stamped, count: int) -> Lines:
    starts, ends = stamped.starts[:count], stamped.ends[:count]
    arrivals = np.full(count, time.time_ns() // 1000)
    buffer = np.frombuffer(stamped.padded, np.uint8)
    return Lines(buffer, Slices(starts, ends), starts, arrivals, ends - starts)
