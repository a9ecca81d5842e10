"""Grid: which windows and streams are there to be judged, seen or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_PAIRS_LIMIT = 2_000_000


@dataclass(frozen=True, slots=True)
class Grid:
    """Pairs of window and stream, sorted, and what the source itself saw of each."""

    windows: Ints  # microseconds, each once
    streams: list[str]  # each once
    keys: Ints  # of the pairs: place of the window * streams + place of the stream
    observed: Ints  # records at the source

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def window(self) -> Ints:
        """Each pair's window, microseconds."""
        found: Ints = self.windows[self.keys // max(len(self.streams), 1)]
        return found

    @property
    def stream(self) -> Ints:
        """Each pair's stream: its place among `streams`."""
        found: Ints = self.keys % max(len(self.streams), 1)
        return found

    def rows(self, windows: Ints, streams: Any) -> Ints:
        """Where pairs of the grid stand in it, by windows and names of streams (Arrow)."""
        keys = _keys(self.windows, self.streams, windows, streams)
        return np.searchsorted(self.keys, keys).astype(np.int64)


def grid_of(seen: pa.Table, added: Sequence[int]) -> Grid:
    """All windows and streams, each with each.

    Garbage in a stream's place could make millions of streams: beyond 2 million pairs only those
    that were seen, and of the windows added the streams that were seen in most windows.

    Args:
        seen: window (microseconds), stream and what the source observed, of each pair seen at all.
        added: windows that are to be judged although nothing was seen in them.
    """
    windows = seen["window"].to_numpy()
    more = np.unique(np.array(added, np.int64))
    every = np.unique(np.concatenate([windows, more]))
    streams = sorted(pc.unique(seen["stream"]).to_pylist())
    own = _keys(every, streams, windows, seen["stream"])
    size = len(every) * len(streams)
    if size <= _PAIRS_LIMIT:
        keys = np.arange(size)
    else:
        times = np.bincount(own % len(streams), minlength=len(streams))
        steady = np.argsort(-times, kind="stable")[: _PAIRS_LIMIT // max(len(more), 1)]
        places = np.searchsorted(every, more)
        keys = np.union1d(own, np.add.outer(places * len(streams), steady).ravel())
    observed = np.zeros(len(keys), np.int64)
    observed[np.searchsorted(keys, own)] = seen["observed"].to_numpy()
    return Grid(every, streams, keys, observed)


def _keys(every: Ints, names: Sequence[str], windows: Ints, streams: Any) -> Ints:
    code = pc.index_in(streams, pa.array(names, pa.string())).to_numpy().astype(np.int64)
    keys: Ints = np.searchsorted(every, windows) * len(names) + code
    return keys
