"""`targets:` and `expectations:` of a pipeline file: what is understood, what is refused."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from fidelity.check.own import refuse_unknown
from fidelity.config import Expectation, LagTarget, Pipeline, load
from fidelity.config.showing import shown
from fidelity.errors import ConfigError

DOCS = Path(__file__).parents[1] / "docs"
STAGES = """
    stages:
      hosts: {kind: files, path: a}
      lake: {kind: files, after: hosts, path: b}
"""


def read(folder: Path, text: str) -> Pipeline:
    file = folder / "pipeline.yaml"
    whole = f"pipeline: p\nstore: s\n{textwrap.dedent(STAGES)}{textwrap.dedent(text)}"
    file.write_text(whole, "utf-8")
    return load(file)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return str(caught.value)


SECOND = 1_000_000


@pytest.mark.parametrize(
    ("words", "lag"),
    [
        ("5m", (LagTarget(most=300 * SECOND),)),
        (
            "{p50: 1s, p99.90: 5m, max: 1h}",
            (
                LagTarget(quantile="p50", most=SECOND),
                LagTarget(quantile="p99.9", most=300 * SECOND),
                LagTarget(quantile="max", most=3600 * SECOND),
            ),
        ),
        (
            "{p99: 5m, stages: {lake: 2h, hosts: {max: 1m}}}",
            (
                LagTarget(most=300 * SECOND),
                LagTarget(most=7200 * SECOND, stage="lake"),
                LagTarget(quantile="max", most=60 * SECOND, stage="hosts"),
            ),
        ),
        ("{stages: {lake: 2h}}", (LagTarget(most=7200 * SECOND, stage="lake"),)),
    ],
)
def test_lag_has_a_short_form_and_may_differ_by_stage(
    tmp_path: Path, words: str, lag: tuple[LagTarget, ...]
) -> None:
    assert read(tmp_path, f"targets: {{lag: {words}}}").targets.lag == lag


def test_a_stream_starts_from_the_pipelines_targets(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path,
        """
        targets:
          lag: 5m
          watermark_age: 2h
          flaws: 1%
          streams: {debug: {completeness: 90%}, trace: {lag: {max: 1d}}}
        """,
    )
    assert pipeline.targets_for("debug").lag == pipeline.targets.lag
    assert pipeline.targets_for("trace").lag == (LagTarget(quantile="max", most=86_400 * SECOND),)
    assert pipeline.targets_for("other").watermark_age == 7200 * SECOND


def test_every_mistake_in_targets_is_told_at_once(tmp_path: Path) -> None:
    told = refused(
        tmp_path,
        """
        targets:
          lag: {p100: 5m, p99: soon, p50: 1s, p50.0: 2s, stages: {lak: 1m, lake: {}}}
          watermark_age: 10m
          compleetness: 1
          streams: {a: {flaws: 1%, watermark_age: 1h, lag: 400d}}
        """,
    )
    for part in (
        "10 problems",
        "targets.lag.p100: `p100` is not a quantile: write p50, p99, p99.9 or max",
        "targets.lag.p99: `soon` is not a duration",
        "targets.lag.p50.0: `p50` is told twice",
        "targets.lag.stages.lak: there is no such stage. Did you mean `lake`?",
        "targets.lag.stages.lake: must give a duration",
        "targets.watermark_age: `10m` can never be met: a window passes at the earliest when it",
        "targets.compleetness: unknown key. Did you mean `completeness`?",
        "targets.streams.a.flaws: a flawed record has no stream",
        "targets.streams.a.watermark_age: the watermark is that of the pipeline",
    ):
        assert part in told
    assert "is longer than 366d" in refused(tmp_path, "targets: {lag: 400d}")
    assert "must give a duration" in refused(tmp_path, "targets: {lag: {}}")
    assert "must be a mapping" in refused(tmp_path, "targets: {lag: [5m]}")


def test_expectations_are_taken_as_they_are_written(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path,
        """
        expectations:
          - expect_column_values_to_be_between: {column: lost, max_value: 0}
            stage: lake
            streams: [audit, "0123"]
          - {expect_table_row_count_to_equal: {value: 1}, over: pipeline}
          - expect_column_values_to_be_unique: {column: stream}
        """,
    )
    assert pipeline.expectations == (
        Expectation(
            name="expect_column_values_to_be_between",
            arguments={"column": "lost", "max_value": "0"},
            stages=("lake",),
            streams=("audit", "0123"),
        ),
        Expectation(
            name="expect_table_row_count_to_equal", arguments={"value": "1"}, over="pipeline"
        ),
        Expectation(name="expect_column_values_to_be_unique", arguments={"column": "stream"}),
    )


def test_every_mistake_in_expectations_is_told_at_once(tmp_path: Path) -> None:
    told = refused(
        tmp_path,
        """
        expectations:
          - expect_a: {column: lost}
            stage: lak
            over: balance
            stream: audit
          - column: lost
          - expect_a: {}
            expect_b: {}
          - expect_a
          - expect_a: lost
        """,
    )
    for part in (
        "expectations.0.stage: there is no stage `lak`. Did you mean `lake`?",
        "expectations.0.over: `balance` is not one of balances, lags, stages, pipeline",
        "expectations.0.stream: unknown key. Did you mean `streams`?",
        "expectations.1: must have exactly one key `expect_...`",
        "expectations.2: must have exactly one key `expect_...`",
        "expectations.3: must have exactly one key `expect_...`",
        "expectations.4.expect_a: must be a mapping",
    ):
        assert part in told
    assert "must be a list" in refused(tmp_path, "expectations: {expect_a: {}}")


def test_what_chooses_no_rows_of_the_table_is_refused(tmp_path: Path) -> None:
    told = refused(
        tmp_path,
        """
        expectations:
          - {expect_a: {}, over: pipeline, stage: lake, streams: a}
          - {expect_a: {}, over: stages, stage: lake, streams: [a]}
          - {expect_a: {}, over: lags, stage: lake, streams: [a]}
        """,
    )
    assert "3 problems" in told
    for part in (
        "expectations.0.stage: cannot choose rows of `pipeline`: none is of one stage",
        "expectations.0.streams: cannot choose rows of `pipeline`: none is of one stream",
        "expectations.1.streams: cannot choose rows of `stages`: none is of one stream",
    ):
        assert part in told


def test_what_is_shown_of_targets_and_expectations_is_read_as_the_same(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path,
        """
        targets:
          lag: {p99: 5m, max: 1h, stages: {lake: {p50: 1s}}}
          watermark_age: 2h
          flaws: 1%
          streams: {debug: {lag: 1d}, trace: {completeness: 5%}}
        expectations:
          - expect_column_values_to_be_in_set: {column: stream, value_set: [a, "1"]}
            streams: a
            over: lags
        """,
    )
    words = yaml.safe_dump(shown(pipeline), sort_keys=False)
    (tmp_path / "again.yaml").write_text(words, "utf-8")
    assert load(tmp_path / "again.yaml") == pipeline


@pytest.mark.parametrize("page", ["checks.md", "configuration.md"])
def test_the_expectations_that_are_shown_can_be_asked(tmp_path: Path, page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    examples = [each for each in re.findall(r"```yaml\n(.*?)```", text, re.S) if "expect_" in each]
    assert examples
    for example in examples:
        pipeline = read(tmp_path, example)
        assert pipeline.expectations
        refuse_unknown(pipeline)
