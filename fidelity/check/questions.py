"""Questions: targets and the user's expectations, put as Great Expectations is to answer them.

A question says of each row of its table whether it is to be judged at all: a window that has not
settled is pending, what may hide something is unknown, and too few records prove nothing. Rows
that are not judged are null in the column that is asked about, so nobody can pass or fail them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.check.checked import Row, Severity
from fidelity.report import iso

States = NDArray[np.int8]
JUDGED, PENDING, UNKNOWN, UNPROVEN, NOT_ASKED = range(5)


@dataclass(frozen=True, slots=True)
class Question:
    """One expectation over one table.

    Args:
        states: of the table's rows.
        tell: the row of the answer for a row of the table that does not pass: (position, state);
            of an expectation about a whole table (-1, what was observed).
    """

    name: str
    over: str
    kind: str  # by Great Expectations' name
    arguments: dict[str, Any]
    states: States
    tell: Callable[[int, Any], Row] = field(repr=False)
    severity: Severity = "critical"  # a warning: what it finds is unknown, not wrong
    notes: str = ""  # for who reads the page
    own: bool = False  # the user's: only rows that are judged are shown to it


@dataclass(slots=True)
class Table:
    """One table with the questions over it. `window` is ISO text."""

    name: str
    data: pa.Table
    settled: NDArray[np.bool_]  # of its rows
    questions: list[Question] = field(default_factory=list)

    def add(self, **columns: pa.Array) -> None:
        """Add columns."""
        for name, values in columns.items():
            self.data = self.data.append_column(name, values)


def judged(values: NDArray[Any], states: States) -> pa.Array:
    """The values where they are judged, else null; as float64."""
    return pa.array(values.astype(np.float64), mask=states != JUDGED)


def iso_column(windows: Sequence[int]) -> pa.Array:
    """Windows by their starts, microseconds, as text."""
    texts = {window: iso(window) for window in set(windows)}
    return pa.array([texts[window] for window in windows], pa.string())


def at_most(name: str, target: str, states: States, **more: Any) -> dict[str, Any]:
    """Great Expectations' words for: the column is at most its target."""
    return _pair(target, name) | {"states": states, **more}


def at_least(name: str, target: str, states: States, **more: Any) -> dict[str, Any]:
    """Great Expectations' words for: the column is at least its target."""
    return _pair(name, target) | {"states": states, **more}


def known(column: str, states: States, **more: Any) -> dict[str, Any]:
    """Great Expectations' words for: nothing is unknown."""
    return {
        "kind": "expect_column_values_to_be_null",
        "arguments": {"column": column},
        "severity": "warning",
        "states": states,
        **more,
    }


def _pair(greater: str, lesser: str) -> dict[str, Any]:
    return {
        "kind": "expect_column_pair_values_a_to_be_greater_than_b",
        "arguments": {
            "column_A": greater,
            "column_B": lesser,
            "or_equal": True,
            "ignore_row_if": "either_value_is_missing",
        },
    }
