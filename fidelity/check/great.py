"""Great Expectations, imported here and nowhere else: it answers the questions over each table.

Nothing is written and nobody is called: the context lives in memory, its analytics are off.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question."""

    question: Question
    success: bool
    rows: tuple[int, ...]  # of the table, those that do not meet it
    observed: Any = None  # where it is about the whole table
    about_rows: bool = True
    judged: int = 0  # rows; what is null is not


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
            action="pip install 'fidelity[checks]'",
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
        found = batch.validate(suite, result_format={"result_format": "COMPLETE"})
    by_number = {result.expectation_config.meta["number"]: result for result in found.results}
    return [by_number[number] for number in range(len(questions))]


def _answer(question: Question, result: Any, rows: "np.ndarray[Any, Any]") -> Answer:
    raised = _raised(result.exception_info)
    if raised and question.own:
        what = f"expectations: {question.name} cannot be judged: {raised}."
        raise ConfigError(what, action="docs/checks.md tells the columns and their types.")
    if raised:
        raise RuntimeError(f"{question.name}: {raised}")  # a bug of ours
    found = result.result
    about_rows = "unexpected_count" in found
    at = found.get("unexpected_index_list") or []
    return Answer(
        question,
        bool(result.success),
        tuple(int(rows[each]) for each in at),
        None if about_rows else _plain(found.get("observed_value")),
        about_rows,
        int(found.get("element_count", 0)) - int(found.get("missing_count") or 0),
    )


def _plain(value: Any) -> Any:
    """A figure as Python has it, not numpy."""
    return value.item() if isinstance(value, np.generic) else value


def _raised(info: dict[str, Any]) -> str:
    """What an expectation raised, "" if nothing."""
    flat = [info] if "raised_exception" in info else list(info.values())
    told = [each["exception_message"] for each in flat if each.get("raised_exception")]
    return " ".join(str(told[0]).split())[:300].rstrip(".") if told else ""


def _cut(result: Any, table: Table, answer: Answer) -> Any:
    """Only the first scopes that do not meet it, by name instead of by place."""
    found = result.result
    for name in _LONG:
        found.pop(name, None)
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
