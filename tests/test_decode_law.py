"""The law of decoding: what the kernels accept, the SQL accepts with equal values."""

import numpy as np
import pytest
from decode_lines import decoder_for, json_log, mutated, spec, text_log
from numpy.typing import NDArray

from fidelity.config import Place, RecordSpec
from fidelity.decode import Names
from fidelity.decode.decoder import Decoder
from fidelity.records import Lines, Slices

SPECS = {
    "json": spec(),
    "json sequence": spec(id=Place(field="fid", encoding="sequence")),
    "json opaque": spec(id=Place(field="fid", encoding="opaque"), time=Place(field="ts", unit="s")),
    "text": spec("text", time=Place(builtin="line_start")),
    "json late": spec(origin=Place(field="/ctx/a/1/b"), stream=Place(regex='"(INFO|WARN)"')),
    "text late": spec(
        "text", time=Place(builtin="line_start"), stream=Place(regex=r"stream=(\w+)")
    ),
    "text fields": spec("text", time=Place(field="a", unit="iso"), origin=Place(field="origin")),
}


def by_sql(spec: RecordSpec, names: Names) -> Decoder:
    """The same decoder with every line put to the SQL."""
    decoder = decoder_for(spec, names)
    decoder._all_sql = True
    return decoder


def of_rows(batch: Lines, rows: NDArray[np.int64]) -> Lines:
    """Some rows of a batch."""
    values = Slices(batch.values.starts[rows], batch.values.ends[rows])
    return Lines(batch.buffer, values, rows, batch.arrivals[rows], batch.sizes[rows])


def differing(fast: Decoder, slow: Decoder, batch: Lines) -> tuple[NDArray[np.int64], int]:
    """Rows that the kernels are sure of and the SQL does not agree on; how many were sure."""
    first = fast.decode(batch)
    rows = np.flatnonzero(~fast._room.unsure[: len(batch)])
    second = slow.decode(of_rows(batch, rows))
    placed = (second.flaw == 0) | (second.flaw == 5)
    differs = first.flaw[rows] != second.flaw
    for part in ("id", "time", "stream", "origin"):
        differs |= placed & (getattr(first, part)[rows] != getattr(second, part))
    return rows[differs], len(rows)


def check(spec: RecordSpec, lines: list[bytes], rounds: int, seed: int) -> int:
    """Asserts the law on mutations of the lines; of how many the kernels were sure."""
    names = Names()
    fast, slow = decoder_for(spec, names), by_sql(spec, names)
    sure = 0
    for batch in mutated(lines, rounds, seed):
        rows, count = differing(fast, slow, batch)
        if len(rows):
            start, end = batch.values.starts[rows[0]], batch.values.ends[rows[0]]
            pytest.fail(f"{len(rows)} rows differ: {batch.buffer[start:end].tobytes()!r}")
        sure += count
    return sure


@pytest.mark.parametrize("name", SPECS)
def test_mutated_lines_mean_the_same_to_the_kernels_and_to_the_sql(name: str) -> None:
    log = text_log if name.startswith("text") else json_log
    sure = check(SPECS[name], log(10_000, 1), rounds=15, seed=2)
    assert sure > 10_000, "the kernels must be sure of some lines, or nothing was tested"
