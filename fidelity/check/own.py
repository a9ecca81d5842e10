"""The user's own expectations: their words for Great Expectations, and what did not meet them."""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fidelity.check import great
from fidelity.check.checked import Row
from fidelity.check.columns import COLUMNS, SHARES, TEXTS
from fidelity.check.questions import JUDGED, NOT_ASKED, PENDING, Question, States, Table
from fidelity.config import Expectation, Pipeline
from fidelity.config.values import duration, nearest, share
from fidelity.errors import ConfigError
from fidelity.report import from_iso

_COLUMNS = ("column", "column_A", "column_B", "column_list", "column_set")
"""Arguments whose values are names of columns."""

_NUMBERS = ("mostly", "weights", "tail_weights")
"""Arguments that are numbers, whatever the column."""

_PAIRS = "value_pairs_set"
_BETWEEN = "expect_column_values_to_be_between"
_OF_WINDOWS = (
    "Times are for `expect_column_min_to_be_between` and `expect_column_max_to_be_between`; "
    "`fidelity check --window` judges some windows only."
)

_SCOPE = ("stage", "against", "stream", "window", "lost")

Value = Any


def refuse_unknown(pipeline: Pipeline) -> None:
    """Raise ConfigError, telling every expectation that Great Expectations would not take."""
    told = []
    for at, each in enumerate(pipeline.expectations):
        place = f"expectations.{at}.{each.name}"
        told += [f"{place}: {what}" for what in _problems(each, list(COLUMNS[each.over]))]
    if told:
        many = [f"{len(told)} problems:"] if len(told) > 1 else []
        raise ConfigError("\n  ".join([*many, *told]), where=pipeline.name)


def _problems(expectation: Expectation, columns: list[str]) -> list[str]:
    found = []
    for argument in _COLUMNS:
        given = expectation.arguments.get(argument, [])
        for name in [given] if isinstance(given, str) else given:
            if name not in columns:
                advice = nearest(str(name), columns) or f"It has {', '.join(columns)}."
                found.append(f"`{expectation.over}` has no column `{name}`. {advice}")
    found = found or _unordered(expectation)
    return found or great.problems(expectation.name, arguments(expectation))


def _unordered(expectation: Expectation) -> list[str]:
    """Bounds that no value can be held against: Great Expectations would take them all the same."""
    given = arguments(expectation)
    column = given.get("column")
    if expectation.name == _BETWEEN and column in TEXTS:
        advice = f" {_OF_WINDOWS}" if column == "window" else ""
        return [f"`{column}` is text, which is neither less nor more than anything.{advice}"]
    endless = [name for name, held in given.items() if not _finite(held)]
    return [f"`{name}` is not a finite number: leave out what has no bound." for name in endless]


def _finite(held: Value) -> bool:
    if isinstance(held, dict):
        return all(map(_finite, held.values()))
    if isinstance(held, list):
        return all(map(_finite, held))
    return not isinstance(held, float) or math.isfinite(held)


def arguments(expectation: Expectation) -> dict[str, Value]:
    """The arguments as values: numbers, truth values, shares and durations as the column asks."""
    names = expectation.arguments
    column = str(names.get("column", names.get("column_A", "")))
    found = {key: _argument(key, held, column) for key, held in names.items()}
    if _PAIRS in names:
        found[_PAIRS] = _pairs(names[_PAIRS], (column, str(names.get("column_B", ""))))
    return found


def _argument(key: str, held: Value, column: str) -> Value:
    if key in _COLUMNS:
        return held
    if isinstance(held, dict):
        return {name: _argument(name, each, column) for name, each in held.items()}
    return _value(held, "" if key in _NUMBERS else column)


def _pairs(held: Value, columns: tuple[str, str]) -> Value:
    """Pairs of values, each as its own column asks. What is none is left to be refused."""
    if isinstance(held, list) and all(isinstance(each, list) and len(each) == 2 for each in held):
        return [list(map(_value, pair, columns)) for pair in held]
    return held


def _value(held: Value, column: str) -> Value:
    if isinstance(held, list):
        return [_value(each, column) for each in held]
    if column in TEXTS:
        return held
    if held in ("true", "false"):
        return held == "true"
    for read in _readers(column):
        try:
            return read(held)
        except ValueError:
            continue
    return held


def _readers(column: str) -> tuple[Any, ...]:
    if column.endswith("_us"):
        return (int, float, duration)
    return (int, float, share) if column in SHARES else (int, float)


def add_own(pipeline: Pipeline, tables: Mapping[str, Table]) -> list[Row]:
    """Add the user's questions to their tables; the rows of those that nothing can answer."""
    unanswered = []
    for each in pipeline.expectations:
        table = tables[each.over]
        states = _states(each, table)
        missing = _unseen(each, table)
        if (states == NOT_ASKED).all():
            unanswered += missing or [_nothing(each, "there is nothing to judge.")]
            continue
        unanswered += missing
        put = arguments(each)
        table.questions.append(
            Question(
                name=each.name,
                over=each.over,
                kind=each.name,
                arguments=put,
                states=states,
                tell=_teller(each, table, put),
                own=True,
            )
        )
    return unanswered


def _states(expectation: Expectation, table: Table) -> States:
    """Which rows it is about; windows that have not settled are not judged."""
    states = np.where(table.settled, JUDGED, PENDING).astype(np.int8)
    for column, names in _scopes(expectation):
        mine = pc.is_in(table.data[column], value_set=pa.array(names, pa.string()))
        states[~np.asarray(mine.to_numpy(), np.bool_)] = NOT_ASKED
    return states


def _scopes(expectation: Expectation) -> list[tuple[str, tuple[str, ...]]]:
    """The columns by which its rows are chosen, with the names that are wanted."""
    named = (("stage", expectation.stages), ("stream", expectation.streams))
    return [(column, names) for column, names in named if names]


def _unseen(expectation: Expectation, table: Table) -> list[Row]:
    """A row for each stage and stream that is named and that nobody saw."""
    rows = []
    for column, names in _scopes(expectation):
        seen = sorted(set(table.data[column].to_pylist()))
        for name in [name for name in names if name not in seen]:
            # The file was held to its own stages, so only a stream may be misspelt.
            advice = nearest(name, seen) if column == "stream" else ""
            rows.append(_nothing(expectation, f"no {column} `{name}` was seen.", advice))
    return rows


def _nothing(expectation: Expectation, what: str, advice: str = "") -> Row:
    return Row(
        expectation.name, stage=", ".join(expectation.stages), against=None, stream="", window=None,
        observed=None, target=None, verdict="unknown", message=what,
        action=advice or "Check `stage`, `streams` and `over` of the expectation.",
    )  # fmt: skip


def _teller(expectation: Expectation, table: Table, put: dict[str, Value]) -> Any:
    asked = [put[name] for name in ("column", "column_A", "column_B") if name in put]
    asked += put.get("column_list", []) or put.get("column_set", [])
    wanted = {key: held for key, held in put.items() if key not in _COLUMNS}

    shown = [name for name in (*_SCOPE, *asked) if name in table.data.column_names]

    @cache
    def plain() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = table.data.select(list(dict.fromkeys(shown))).to_pylist()
        return rows

    def tell(at: int, observed: Any) -> Row:
        if at < 0:  # about the whole table
            row: dict[str, Any] = {}
            told = f"over `{expectation.over}` {_came_to(observed)}."
        else:
            row = plain()[at]
            observed = row[asked[0]] if len(asked) == 1 else [row[name] for name in asked]
            told = ", ".join(f"{name} is {_shown(row[name])}" for name in asked) + "."
        stages = ", ".join(expectation.stages)
        window = row.get("window")
        return Row(
            expectation.name,
            stage=str(row.get("stage", stages)),
            against=row.get("against"),
            stream=str(row.get("stream", "")),
            window=None if window is None else from_iso(window),
            observed=observed,
            target=wanted,
            verdict="fail",
            message=f"{told} Wanted: {_words(wanted)}." if wanted else told,
            action="You set this expectation: see `expectations` in the pipeline file.",
            records=int(row.get("lost") or 0),
        )

    return tell


def _came_to(observed: Any) -> str:
    """What a whole table came to, in words."""
    if observed is None:
        return "it is not met"
    if not isinstance(observed, dict) or not set(observed) <= set(_DIFFERS):
        return f"it came to {observed}"
    names = {name: ", ".join(f"`{each}`" for each in held) for name, held in observed.items()}
    return "; ".join(_DIFFERS[name].format(names[name]) for name in observed)


_DIFFERS = {"unexpected": "there is {} besides", "missing": "there is no {}"}


def _shown(value: Any) -> str:
    return "empty" if value is None else str(value)


def _words(wanted: dict[str, Value]) -> str:
    return ", ".join(f"{key} {held}" for key, held in wanted.items())
