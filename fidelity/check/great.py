"""Great Expectations, imported here and nowhere else: it answers the questions over each table.

Nothing is written and nobody is called: the context lives in memory, its analytics are off.
"""

import contextlib
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np

from fidelity.check.questions import JUDGED, Question, Table
from fidelity.config.values import nearest
from fidelity.errors import ConfigError, UsageError

MOST_SHOWN = 20
"""Scopes that do not meet an expectation, as the kept result names them; it counts them all."""

_SCOPE = ("stage", "against", "window", "stream")
_LONG = ("unexpected_list", "unexpected_index_list", "unexpected_index_query", "unexpected_rows")
_OF_DATABASES = (
    "expect_column_values_to_match_like_pattern", "expect_column_values_to_match_like_pattern_list",
    "expect_column_values_to_not_match_like_pattern",
    "expect_column_values_to_not_match_like_pattern_list",
    "expect_query_results_to_match_comparison", "expect_table_row_count_to_equal_other_table",
    "unexpected_rows_expectation",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question."""

    question: Question
    success: bool
    rows: tuple[int, ...]  # of the table, those that do not meet it
    observed: Any = None  # where it is about the whole table
    about_rows: bool = True
    judged: int = 0  # rows; what is null is not

    @property
    def missed(self) -> int:
        """Rows that do not meet it, of an expectation that is not met."""
        return 0 if self.success else len(self.rows) if self.about_rows else 1

    @property
    def tolerated(self) -> int:
        """Rows that do not meet it, of an expectation that is met: it asks for `mostly`."""
        return len(self.rows) if self.success else 0


@cache
def library() -> Any:
    """The module. Raises UsageError where it is not installed."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    try:
        with _quiet():
            import great_expectations
            import great_expectations.expectations
    except ImportError as error:
        raise UsageError(
            f"checks need Great Expectations, which is not installed ({error.name}).",
            action="pip install '.[checks]' in Fidelity's folder",
        ) from error
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    return great_expectations


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _kinds() -> dict[str, Any]:
    library()
    from great_expectations.expectations import registry

    names = registry.list_registered_expectation_implementations()
    return {name: registry.get_expectation_impl(name) for name in names}


def problems(name: str, arguments: dict[str, Any]) -> list[str]:
    """Why Great Expectations would not take an expectation; none if it would."""
    kinds = _kinds()
    if name in _OF_DATABASES:
        return ["Great Expectations can ask it of a database only, and this is none."]
    if name not in kinds:
        return [f"there is no such expectation. {nearest(name, kinds)}".rstrip()]
    valid = [field for field in kinds[name].__fields__ if field not in _OURS]
    strange = [argument for argument in arguments if argument not in valid]
    if strange:
        return [f"it has no argument `{each}`. {nearest(each, valid)}".rstrip() for each in strange]
    try:
        with _quiet():
            kinds[name](**arguments)
    except Exception as error:  # noqa: BLE001 - whatever it says of the arguments, the user must hear
        return _said(error)
    return []


_OURS = (
    "id", "meta", "notes", "result_format", "description", "catch_exceptions",
    "rendered_content", "batch_id", "expectation_type", "severity", "windows",
)  # fmt: skip


def _said(error: Exception) -> list[str]:
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return [" ".join(str(error).split())[:300]]
    told = {f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in errors()}
    return sorted(each.removeprefix("__root__: ") for each in told)


def answer(tables: Sequence[Table]) -> tuple[list[Answer], list[Any]]:
    """Every question answered; and Great Expectations' own results, cut to what can be kept.

    Raises ConfigError where an expectation of the user's cannot be judged.
    """
    source = _context().data_sources.add_pandas("fidelity")
    answers, results = [], []
    for table in tables:
        for number, (questions, rows) in enumerate(_groups(table)):
            validated = _validate(source, f"{table.name}-{number}", table, questions, rows)
            for question, result in zip(questions, validated, strict=True):
                answers.append(_answer(question, result, rows))
                results.append(_cut(result, table, answers[-1]))
    return answers, results


def _context() -> Any:
    gx = library()
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    # By default it makes a folder for its pages, and leaves it there.
    nowhere = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    with _quiet():
        return gx.get_context(
            mode="ephemeral",
            project_config=DataContextConfig(
                store_backend_defaults=nowhere,
                progress_bars=ProgressBarsConfig(globally=False),
                analytics_enabled=False,
            ),
        )


def _groups(table: Table) -> Iterator[tuple[list[Question], "np.ndarray[Any, Any]"]]:
    """Questions that are asked of the same rows, and these rows.

    What no row can answer is not asked: to Great Expectations nothing is as good as all.
    """
    groups: dict[bytes, list[Question]] = {}
    everything = np.arange(len(table.data))
    for question in table.questions:
        judged = question.states == JUDGED
        if judged.any():
            groups.setdefault(judged.tobytes() if question.own else b"", []).append(question)
    for key, questions in groups.items():
        yield questions, everything[np.frombuffer(key, np.bool_)] if key else everything


def _validate(
    source: Any, name: str, table: Table, questions: list[Question], rows: "np.ndarray[Any, Any]"
) -> list[Any]:
    """The results, in the order of the questions."""
    gx, kinds = library(), _kinds()
    with _quiet():
        expectations = [
            kinds[each.kind](
                **each.arguments,
                severity=each.severity,
                # Data Docs would show only the columns' names.
                description=f"{each.name}: {each.notes}" if each.notes else None,
                meta={"name": each.name, "over": each.over, "number": number},
            )
            for number, each in enumerate(questions)
        ]
        asset = source.add_dataframe_asset(name)
        frame = table.data.take(rows).to_pandas()
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
        suite = gx.ExpectationSuite(name=name, expectations=expectations)
        try:
            found = batch.validate(suite, result_format={"result_format": "COMPLETE"})
        except Exception as error:
            # Some look at their arguments only now, and outside of what the library catches.
            if not all(each.own for each in questions):
                raise
            names = " or ".join(dict.fromkeys(each.name for each in questions))
            raise _unjudgeable(names, str(error) or type(error).__name__) from error
    by_number = {result.expectation_config.meta["number"]: result for result in found.results}
    return [by_number[number] for number in range(len(questions))]


def _unjudgeable(name: str, why: str) -> ConfigError:
    what = f"expectations: {name} cannot be judged: {' '.join(why.split())[:300].rstrip('.')}."
    return ConfigError(what, action="docs/checks.md tells the columns and their types.")


def _answer(question: Question, result: Any, rows: "np.ndarray[Any, Any]") -> Answer:
    raised = _raised(result.exception_info)
    if raised and question.own:
        raise _unjudgeable(question.name, raised)
    if raised:
        raise RuntimeError(f"{question.name}: {raised}")  # a bug of ours
    found, success = result.result, bool(result.success)
    at = found.get("unexpected_index_list") or []
    # Only what asks row by row counts elements. What is not met is missed, by some row or by all.
    about_rows = "element_count" in found and (success or bool(at))
    return Answer(
        question,
        success,
        tuple(int(rows[each]) for each in at),
        None if about_rows else _observed(found),
        about_rows,
        int(found.get("element_count", 0)) - int(found.get("missing_count") or 0),
    )


def _observed(found: dict[str, Any]) -> Any:
    """What a whole table came to; where it is told by a set, what is not in both."""
    if found.get("observed_value") is not None:
        return _plain(found["observed_value"])
    lists = {name: found.get(f"partial_{name}_list") for name in ("unexpected", "missing")}
    return {name: sorted(_plain(held), key=str) for name, held in lists.items() if held} or None


def _plain(value: Any) -> Any:
    """Values as Python and JSON have them: no numpy, no times, nothing that is not a number."""
    if isinstance(value, dict):
        return {key: _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _raised(info: dict[str, Any]) -> str:
    """What an expectation raised, "" if nothing."""
    flat = [info] if "raised_exception" in info else list(info.values())
    told = [each["exception_message"] for each in flat if each.get("raised_exception")]
    return (str(told[0]) or "it says not why") if told else ""


def _cut(result: Any, table: Table, answer: Answer) -> Any:
    """Only the first scopes that do not meet it, by name instead of by place; in plain values."""
    result.success, found = answer.success, result.result
    for name in _LONG:
        found.pop(name, None)
    if "element_count" not in found:
        # Data Docs take a count of unexpected values to be one of rows, and fail.
        for name in ("unexpected_count", "partial_unexpected_list"):
            found.pop(name, None)
        found["observed_value"] = answer.observed
    result.result = _plain(found)
    found = result.result
    if "partial_unexpected_index_list" in found:
        names = [name for name in _SCOPE if name in table.data.column_names]
        rows = table.data.select(names).take(np.array(answer.rows[:MOST_SHOWN], np.int64))
        found["unexpected_index_column_names"] = names
        found["partial_unexpected_index_list"] = rows.to_pylist()
    return result


def data_docs(name: str, run: str, as_of: str, results: Sequence[Any]) -> str:
    """The page that Great Expectations makes of results, with all that it loads from elsewhere."""
    version = library().__version__
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    met = sum(bool(result.success) for result in results)
    whole = ExpectationSuiteValidationResult(
        success=met == len(results),
        results=list(results),
        suite_name=name,
        meta={
            "great_expectations_version": version,
            "run_id": {"run_name": run, "run_time": as_of},
            "active_batch_definition": {"data_asset_name": run},
        },
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": met,
            "unsuccessful_expectations": len(results) - met,
            "success_percent": 100 * met / len(results) if results else None,
        },
    )
    view: Any = DefaultJinjaPageView()
    with _quiet():
        return str(view.render(ValidationResultsPageRenderer().render(whole)))
