"""Expectations of the user's own: each that can be asked is told as Great Expectations answers."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from test_check import BETWEEN, DUE, asked, own, targeted, without, world

from fidelity.check import Checked, check, great
from fidelity.check.page import files_of
from fidelity.check.questions import JUDGED, Question
from fidelity.config import Expectation, Targets
from fidelity.errors import ConfigError

# Every value as text, as a pipeline file is read.
CASES: dict[str, list[dict[str, Any]]] = yaml.load(
    (Path(__file__).parent / "data/expectations.yaml").read_text(), yaml.BaseLoader
)


def of(found: Checked, name: str) -> Any:
    """The one expectation of this name."""
    (each,) = (each for each in found.expectations if each.name == name)
    return each


def test_every_expectation_that_can_be_asked_has_a_case() -> None:
    of_json = {name for name in great._kinds() if "_json_" in name}  # no column holds any
    assert set(CASES) == set(great._kinds()) - set(great._OF_DATABASES) - of_json


@pytest.mark.parametrize("met", [True, False])
def test_every_expectation_is_told_as_great_expectations_answers_it(
    met: bool, caplog: pytest.LogCaptureFixture
) -> None:
    found = asked(*(own(name, **pair[not met]) for name, pair in CASES.items()))
    answers = {each.expectation_config.meta["name"]: each.success for each in found.results}
    assert {name: answers[name] for name in CASES} == dict.fromkeys(CASES, met)
    verdict = "pass" if met else "fail"
    assert {name: of(found, name).verdict for name in CASES} == dict.fromkeys(CASES, verdict)
    assert all(number >= 0 for each in found.expectations for number in each.counts)
    assert {row.expectation for row in found.rows} >= (set() if met else set(CASES))
    json.dumps(found.document(), allow_nan=False)
    assert files_of(found)["index.html"].count(b"expect_") > len(CASES)
    assert caplog.text == ""  # Data Docs could show each of them


# What a whole table came to

EQUAL_SET = "expect_column_distinct_values_to_equal_set"


def test_a_set_that_differs_is_told_by_what_is_too_much_and_what_is_missing() -> None:
    found = asked(own(EQUAL_SET, column="evidence", value_set=["traced"]))
    differing = {"unexpected": ["digest", "peeled"], "missing": ["traced"]}
    assert of(found, EQUAL_SET).observed == differing
    (row,) = (row for row in found.rows if row.expectation == EQUAL_SET)
    assert (row.verdict, row.observed) == ("fail", differing)
    assert row.message == (
        "over `balances` there is `digest`, `peeled` besides; there is no `traced`. "
        "Wanted: value_set ['traced']."
    )


def test_what_is_missed_without_a_row_that_misses_it_is_missed_as_a_whole() -> None:
    judged = np.full(2, JUDGED, np.int8)
    question = Question(BETWEEN, "balances", BETWEEN, {}, judged, lambda *_: None, own=True)  # type: ignore[arg-type, return-value]
    counted = {"element_count": 2, "missing_count": 0, "unexpected_count": 1}
    result = SimpleNamespace(
        success=False, result=counted, exception_info={"raised_exception": False}
    )
    told = great._answer(question, result, np.arange(2))
    assert (told.about_rows, told.missed, told.tolerated) == (False, 1, 0)


# What may be missed


def test_rows_that_mostly_lets_miss_are_counted_as_tolerated_not_as_passed() -> None:
    found = asked(own(BETWEEN, column="lost", max_value="0", mostly="0.9"))
    told = of(found, BETWEEN)
    assert (told.verdict, told.counts, told.tolerated) == ("pass", (18, 0, 0, 0, 0), 2)
    assert found.document()["expectations"][4]["tolerated"] == 2
    assert found.verdict == "pass"
    assert b"<th>tolerated</th>" in files_of(found)["index.html"]


def test_what_mostly_lets_miss_altogether_is_met_all_the_same() -> None:
    found = asked(own(BETWEEN, column="observed", max_value="-1", mostly="0"))
    told = of(found, BETWEEN)
    assert (told.verdict, told.passed, told.tolerated) == ("pass", 0, 20)


# What nobody saw


def test_each_stream_and_stage_that_nobody_saw_is_unknown_beside_those_that_were() -> None:
    found = asked(
        own(BETWEEN, column="lost", max_value="20", streams=("audit", "acess", "acces")), of=world()
    )
    assert found.verdict == "unknown"
    assert [(row.message, row.action) for row in found.rows if row.verdict == "unknown"] == [
        ("no stream `acess` was seen.", "Did you mean `access`?"),
        ("no stream `acces` was seen.", "Did you mean `access`?"),
    ]
    judged = next(each for each in found.expectations if each.name == BETWEEN)
    assert (judged.verdict, judged.passed) == ("pass", 10)
    absent = asked(own(BETWEEN, column="lost", max_value="20", stages=("lake", "attic")))
    assert [row.message for row in absent.rows if row.verdict == "unknown"] == [
        "no stage `attic` was seen."
    ]


def test_targets_of_a_stream_that_nobody_saw_are_told_and_change_no_verdict() -> None:
    lossy = world(without(DUE, 20))
    targeted(lossy, {"acess": Targets(), "*": Targets()}, completeness=0.9)
    found = check(lossy.pipeline, lossy.reconcile())
    assert found.verdict == lossy.reconcile().verdict == "pass"
    assert (of(found, "targets").verdict, of(found, "targets").counts) == (
        "not judged", (0, 0, 0, 0, 0)
    )  # fmt: skip
    assert [(row.stream, row.verdict, row.message, row.action) for row in found.rows] == [
        (
            "acess", "not judged",
            "no stream `acess` was seen, so its targets are held against nothing.",
            "Did you mean `access`?",
        ),
        (
            "*", "not judged",
            "no stream `*` was seen, so its targets are held against nothing.",
            "Names under `targets: streams:` are taken as written.",
        ),
    ]  # fmt: skip
    assert "Did you mean `access`?" in files_of(found)["index.html"].decode()


# How arguments are read


def test_what_is_compared_with_text_stays_text_also_true_and_false() -> None:
    name = "expect_column_values_to_be_in_set"
    found = asked(own(name, column="stream", value_set=["true", "1", "audit", "access"]))
    (result,) = (each for each in found.results if each.expectation_config.meta["name"] == name)
    assert result.expectation_config.kwargs["value_set"] == ["true", "1", "audit", "access"]


def refused(*expectations: Expectation) -> str:
    with pytest.raises(ConfigError) as caught:
        asked(*expectations)
    return str(caught.value)


@pytest.mark.parametrize("bound", ["nan", "inf", "-Infinity", "1e999"])
def test_a_bound_that_is_no_finite_number_is_refused(bound: str) -> None:
    told = refused(own(BETWEEN, column="lost", max_value=bound))
    assert "`max_value` is not a finite number: leave out what has no bound." in told
    assert "`value_set`" in refused(
        own("expect_column_values_to_be_in_set", column="lost", value_set=["0", bound])
    )


def test_bounds_of_text_are_refused_with_what_tells_times() -> None:
    told = refused(own(BETWEEN, column="window", min_value="2026-03-01T10:05:00Z"))
    assert "`window` is text" in told
    assert "`expect_column_min_to_be_between`" in told
    assert "`stream` is text" in refused(own(BETWEEN, column="stream", min_value="a"))


def test_what_only_a_database_can_be_asked_is_told_so() -> None:
    names = ("expect_column_values_to_match_like_pattern", "unexpected_rows_expectation")
    told = refused(*(own(name, column="stream") for name in names))
    assert told.count("a database only") == len(names)


def test_weights_that_are_no_numbers_are_a_mistake_not_a_bug() -> None:
    weights = {"values": ["audit", "access"], "weights": ["a", "b"]}
    name = "expect_column_kl_divergence_to_be_less_than"
    told = refused(own(name, column="stream", partition_object=weights, threshold="1"))
    assert f"{name} cannot be judged" in told
