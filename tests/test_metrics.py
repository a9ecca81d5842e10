"""The numbers for machines are those of the report, whatever streams and producers are called."""

import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from audits import Folder, lines
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_of
from prometheus_client.parser import text_string_to_metric_families as older_of
from put_protocol import parsed, unescaped
from reconcile_model import World, chain, run_of
from reports import (
    DIFFERING,
    NAMES,
    ROWS,
    START,
    VERDICTS,
    WINDOW,
    Differing,
    LagRow,
    Row,
    lags_of,
    report_of,
)

from fidelity.errors import FidelityError
from fidelity.observe import groups
from fidelity.observe.observations import lag_upper
from fidelity.report import COUNTS, Coverage, Finding, Report, metrics, openmetrics, opentsdb
from fidelity.report.json import document, parse
from fidelity.report.metrics import METRICS

Labels = frozenset[tuple[str, str]]
Numbers = dict[tuple[str, Labels], float]
CALLED = {"duplicates": "duplicate"}  # a count whose metric is not called as its column


def labels(**given: str) -> Labels:
    return frozenset(given.items())


def read(report: Report, origins: bool = False) -> Numbers:
    """What an independent parser reads of the OpenMetrics text, each series once."""
    found: Numbers = {}
    for family in openmetrics_of(openmetrics.render(report, origins)):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def put(report: Report, origins: bool = False) -> Numbers:
    """What a strict parser of the put protocol reads, names as they were before escaping."""
    out = io.StringIO()
    opentsdb.write(report, out, origins)
    found: Numbers = {}
    for line in out.getvalue().splitlines():
        point = parsed(line)
        assert point.timestamp == report.as_of // 1_000_000
        name = point.metric.replace(".", "_", 1)
        key = name, frozenset((tag, unescaped(value)) for tag, value in point.tags.items())
        assert key not in found, key
        found[key] = point.value
    return found


def called(name: str) -> str:
    """How a stream or origin is called, as the documentation says."""
    return f"_{name}" if re.fullmatch("_+other", name) else name


def expected_of(report: Report) -> Numbers:
    """Every number of the JSON report that is a metric, by other code than the renderer's."""
    told = document(report)
    found: Numbers = {}
    for row in told["stages"]:
        edge = {"pipeline": report.pipeline, "stage": row["stage"], "against": row["against"] or ""}
        for name, metric in (("completeness", "completeness_ratio"), ("nines_low",) * 2):
            if row[name] is not None:
                found[f"fidelity_stage_{metric}", labels(**edge)] = row[name]
        for verdict in VERDICTS:
            one = labels(**edge, verdict=verdict)
            found["fidelity_stage_verdict", one] = row["verdict"] == verdict
            found["fidelity_stage_windows", one] = row["windows"].get(verdict, 0)
    sums: Counter[tuple[str, Labels]] = Counter()
    for row in told["balances"]:
        where = {"stage": row["stage"], "against": row["against"] or ""}
        where |= {"pipeline": report.pipeline, "stream": called(row["stream"])}
        for name in COUNTS if row["against"] is not None else ("observed",):
            sums[f"fidelity_{CALLED.get(name, name)}_records", labels(**where)] += row[name]
    return found | dict(sums)


def counted(numbers: Numbers) -> Numbers:
    """Those that `expected_of` tells."""
    known = "|".join(CALLED.get(name, name) for name in COUNTS)
    wanted = re.compile(
        rf"fidelity_({known})_records|fidelity_stage_(compl|nines|verdict|windows).*"
    )
    return {key: value for key, value in numbers.items() if wanted.fullmatch(key[0])}


@settings(max_examples=25)
@given(ROWS, DIFFERING)
def test_every_number_is_that_of_the_report_whatever_names_are(
    rows: list[Row], differing: list[Differing]
) -> None:
    report = report_of(rows, differing)
    found = read(report, origins=True)
    assert counted(found) == expected_of(report)
    copies: Counter[Labels] = Counter()
    for each in differing:
        names = {"stream": called(each.stream), "origin": called(each.origin), "kind": each.kind}
        where = {"pipeline": "logs", "stage": each.stage, "against": each.against}
        copies[labels(**where, **names)] += each.copies
    assert {k[1]: v for k, v in found.items() if k[0] == "fidelity_differing_records"} == copies


@settings(max_examples=25)
@given(ROWS, DIFFERING)
def test_both_formats_tell_the_same(rows: list[Row], differing: list[Differing]) -> None:
    report = report_of(rows, differing, watermark=START)
    told = {
        (name, frozenset(pair for pair in where if pair[1] or pair[0] in ("stream", "origin"))): v
        for (name, where), v in read(report, origins=True).items()
    }
    shortened = {
        (name, frozenset((tag, long(value)) for tag, value in where)): v
        for (name, where), v in told.items()
    }
    assert put(report, origins=True) == shortened


def long(value: str) -> str:
    """What can be told of a value once it was escaped: a long one is cut, and gets a digest."""
    return unescaped(opentsdb.escaped(value))


@given(st.lists(NAMES | st.text("a/~é", min_size=40, max_size=400), unique=True))
def test_no_two_names_are_one_after_escaping(names: list[str]) -> None:
    escaped = [opentsdb.escaped(name) for name in names]
    assert len(set(escaped)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]{1,150}", text) for text in escaped)
    assert [unescaped(t) for t in escaped if "//" not in t] == [
        name for name, t in zip(names, escaped, strict=True) if "//" not in t
    ]


@settings(max_examples=10)
@given(ROWS)
def test_the_text_is_read_alike_by_a_parser_of_the_older_format(rows: list[Row]) -> None:
    text = openmetrics.render(report_of(rows))
    older = [sample for family in older_of(text) for sample in family.samples]
    assert older == [sample for family in openmetrics_of(text) for sample in family.samples]


def test_a_real_report_adds_up_to_the_stages_of_its_json() -> None:
    source = run_of(0, "access", "h1", range(100)) + run_of(1, "audit", "h2", range(50))
    queue = Counter(source)
    for key in sorted(queue)[:7]:
        del queue[key]
    queue[sorted(queue)[0]] += 2
    lake = Counter(queue)
    del lake[sorted(lake)[90]]
    pipeline = chain("logs", "queue", "lake")
    report = World(pipeline, {"logs": source, "queue": queue, "lake": lake}).reconcile()
    found = read(report)
    assert counted(found) == expected_of(report) == counted(put_as_read(report))
    for row in document(report)["stages"]:
        for name in COUNTS if row["against"] is not None else ("observed",):
            metric = f"fidelity_{CALLED.get(name, name)}_records"
            mine = {("stage", row["stage"]), ("against", row["against"] or "")}
            assert sum(v for (n, w), v in found.items() if n == metric and w > mine) == row[name]


def put_as_read(report: Report) -> Numbers:
    """The put lines, with `against` of the source as OpenMetrics has it: there, but empty."""
    edged = {each.name for each in METRICS if "against" in each.labels}
    found = {}
    for (name, where), value in put(report).items():
        bare = name in edged and "against" not in dict(where)
        found[name, where | labels(against="") if bare else where] = value
    return found


def test_what_is_not_known_has_no_sample() -> None:
    never = Coverage("lake", 0, 0, 0, 0, 0, 0, -1, -1, -1)
    found = read(report_of([Row(delivered=0)], coverage=[never]))
    names = {name for name, _ in found}
    assert "fidelity_expected_records" in names
    for absent in ("watermark_timestamp_seconds", "watermark_age_seconds", "stage_read_records"):
        assert f"fidelity_{absent}" not in names
    for absent in ("stage_completeness_ratio", "stream_nines_low", "stage_flawed_records"):
        assert f"fidelity_{absent}" not in names
    assert not any(name.startswith("fidelity_stage_") and "seconds" in name for name in names)


def test_what_was_seen_of_a_stage_is_told() -> None:
    seen = Coverage("lake", 3, 400, 56_789, 1, 2, 4, START + 1, START - 2_000_000, START + 500_000)
    report = report_of([Row()], coverage=[seen], watermark=START, as_of=START + 90_500_000)
    flawed = replace(report.stages[0], flaws={"malformed": 3})
    told = Finding("flaws", "warning", "lake", "", {}, "")
    report = replace(report, stages=(flawed,), findings=(told, told))
    found = read(report)
    here = {"pipeline": "logs", "stage": "lake"}
    for name, number in {
        "units": 3, "read_records": 400, "read_bytes": 56_789, "unreadable_units": 1,
        "trimmed_units": 2, "truncated_units": 4, "looked_timestamp_seconds": START / 1e6 + 1e-6,
        "first_event_timestamp_seconds": START / 1e6 - 2,
        "last_event_timestamp_seconds": START / 1e6 + 0.5,
    }.items():  # fmt: skip
        assert found[f"fidelity_stage_{name}", labels(**here)] == number
    flaws = {dict(w)["kind"]: v for (n, w), v in found.items() if "flawed" in n}
    assert flaws == {"malformed": 3} | dict.fromkeys(
        ("unstamped", "untimed", "unattributed", "future"), 0
    )
    assert found["fidelity_findings", labels(**here, kind="flaws", severity="warning")] == 2
    only = labels(pipeline="logs")
    assert found["fidelity_watermark_timestamp_seconds", only] == START / 1e6
    assert found["fidelity_watermark_age_seconds", only] == 90.5
    assert found["fidelity_run_timestamp_seconds", only] == START / 1e6 + 90.5
    assert found["fidelity_newest_settled_timestamp_seconds", only] == (START + WINDOW) / 1e6


def test_a_verdict_is_one_of_four() -> None:
    found = read(report_of([Row(verdict="pass"), Row(stream="b", verdict="fail")]))
    for name in ("fidelity_verdict", "fidelity_stage_verdict"):
        told = {dict(where)["verdict"]: v for (n, where), v in found.items() if n == name}
        assert told == {"pass": 0, "fail": 1, "pending": 0, "unknown": 0}
    by_stream = {
        (dict(where)["stream"], dict(where)["verdict"])
        for (n, where), v in found.items()
        if n == "fidelity_stream_verdict" and v
    }
    assert by_stream == {("access", "pass"), ("b", "fail")}


def test_streams_beyond_the_limit_are_added_up_and_told() -> None:
    most = metrics.MOST_STREAMS
    rows = [Row(stage=stage, stream=f"s{n:04}", delivered=n) for stage in "ab" for n in range(most)]
    rows += [Row(stage="b", stream=f"t{n}", lost=1, verdict="fail") for n in range(3)]
    report = report_of(rows)
    found = {metric.name: dict(samples) for metric, samples in metrics.families(report)}
    assert found["fidelity_other_streams"] == {("logs",): 3}
    assert found["fidelity_delivered_records"]["logs", "a", "source", "_other"] == 0 + 1 + 2
    for n in range(3):  # what fails is never among the others
        assert found["fidelity_lost_records"]["logs", "b", "source", f"t{n}"] == 1
    for books in report.stages:
        told = [v for w, v in found["fidelity_expected_records"].items() if w[1] == books.stage]
        assert sum(told) == books.expected
        assert len(told) <= most + 1


LAGS = st.lists(
    st.tuples(
        st.sampled_from(["logs", "lake"]), st.integers(0, 2), st.sampled_from(["a", "b", "_other"]),
        st.booleans(), st.booleans(), st.lists(st.integers(-(10**7), 10**10), max_size=9),
    ),
    unique_by=lambda row: row[:3], max_size=8,
)  # fmt: skip


@settings(max_examples=40)
@given(LAGS)
def test_lags_are_those_of_settled_windows_that_were_seen(rows: list[LagRow]) -> None:
    report = replace(report_of([Row(window=1)]), lags=lags_of(rows))
    found = {metric.name: dict(samples) for metric, samples in metrics.families(report)}
    for name, windows in (
        ("fidelity_lag_seconds", (0, 1, 2)),
        ("fidelity_newest_lag_seconds", (1,)),
    ):
        lags: dict[tuple[str, str], list[int]] = {}
        for stage, window, stream, settled, seen, each in rows:
            if settled and seen and window in windows and each:
                lags.setdefault((stage, called(stream)), []).extend(each)
        expected = {
            ("logs", *where, f"{share:g}"): upper(sorted(each)[math.ceil(len(each) * share) - 1])
            for where, each in lags.items()
            for share in (0.5, 0.9, 0.99, 1)
        }
        assert found.get(name, {}) == expected


def upper(lag: int) -> float:
    return lag_upper(int(groups.lag_bucket(lag))) / 1e6


def test_origins_are_told_on_request_and_their_number_is_limited() -> None:
    most = metrics.MOST_ORIGINS
    differing = [Differing(origin=f"pod-{n}", copies=n + 1) for n in range(most + 20)]
    report = report_of([Row()], differing)
    assert not any("origin" in dict(where) for _, where in put(report))
    found = put(report, origins=True)
    assert found["fidelity_other_origins", labels(pipeline="logs")] == 20
    told = {
        dict(w)["origin"]: v for (n, w), v in found.items() if n == "fidelity_differing_records"
    }
    assert len(told) == most + 1
    assert told["_other"] == sum(range(1, 21))
    assert sum(told.values()) == sum(each.copies for each in differing)


def test_the_number_of_samples_does_not_grow_with_windows() -> None:
    few, many = ([Row(window=n, stream="a") for n in range(count)] for count in (2, 500))
    assert read(report_of(few)).keys() == read(report_of(many)).keys()


def test_a_line_of_a_data_point_is_never_longer_than_a_receiver_reads() -> None:
    names = ["n" * 100, "s" * 100, "r" * 100, "\U0001f600" * 99, "é" * 300]
    pipeline, stage, against, stream, origin = names
    row = Row(stage=stage, against=against, stream=stream, delivered=2**62)
    differing = Differing(stage, against, stream, origin, "unexpected", 2**62)
    out = io.StringIO()
    opentsdb.write(report_of([row], [differing], pipeline=pipeline), out, origins=True)
    assert max(map(len, out.getvalue().splitlines())) < 1_000


def test_a_data_point_needs_a_time_that_opentsdb_can_hold() -> None:
    for as_of in (0, -1, 999_999, 2**32 * 1_000_000):
        with pytest.raises(FidelityError, match=r"cannot hold the time .* give another --as-of"):
            list(opentsdb.points(report_of(as_of=as_of)))


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1))
def test_any_finite_number_is_written_as_the_protocol_has_it(value: float) -> None:
    point = parsed(opentsdb.Point("m", 1, value, (("a", "b"),)).line())
    assert point.value == value


def test_a_batch_is_no_larger_than_a_receiver_takes() -> None:
    report = report_of([Row(stream="é" * n) for n in range(1, 60)])
    batches = list(opentsdb.batches(opentsdb.points(report)))
    assert [point for batch in batches for point in batch] == list(opentsdb.points(report))
    for batch in batches:
        assert 0 < len(batch) <= 50
        assert len(json.dumps([point.document() for point in batch])) <= 8_000


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_follows_the_conventions(metric: metrics.Metric) -> None:
    assert re.fullmatch(r"fidelity_[a-z_]+[a-z]", metric.name)
    assert metric.name.endswith(f"_{metric.unit}" if metric.unit else "")
    assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_info", "_created"))
    assert metric.help.endswith(".")
    assert not set(metric.help) & set('"\\\n')
    assert len(metric.labels) < 8 - 1  # OpenTSDB's tags, the pipeline among them
    assert "window" not in metric.labels


def rows_of_the_table(metrics: Iterable[metrics.Metric]) -> list[str]:
    return [
        f"| `{each.name}` | {each.unit or '-'} | "
        f"{', '.join(f'`{label}`' for label in each.labels) or '-'} | {each.help} |"
        for each in metrics
    ]


def test_the_page_lists_every_metric_as_it_is() -> None:
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text("utf-8")
    told = [line for line in page.splitlines() if line.startswith("| `fidelity_")]
    assert told == rows_of_the_table(METRICS)


def test_the_page_speaks_of_no_metric_that_there_is_not() -> None:
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text("utf-8")
    spoken = set(re.findall(r"\bfidelity_[a-z_]+", page))
    assert spoken == {each.name for each in METRICS}
    assert f"Up to {metrics.MOST_STREAMS:,} streams" in page
    assert f"for {metrics.MOST_ORIGINS} pairs of stream and origin" in page
    assert f"more than {opentsdb.LONGEST} characters" in page


def test_alert_rules_are_yaml_and_ask_for_labels_that_a_metric_has() -> None:
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text("utf-8")
    text = next(t for t in re.findall(r"```yaml\n(.*?)```", page, re.S) if t.startswith("groups"))
    has = {each.name: {"pipeline", *each.labels} for each in METRICS}
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    assert len(rules) >= 5
    for rule in rules:
        for name, chosen in re.findall(r"(fidelity_\w+)(?:\{(\w+)=)?", rule["expr"]):
            assert {chosen} - {""} <= has[name]
            by = re.findall(r"by \(([^)]*)\)", rule["expr"])
            assert {part for each in by for part in each.split(", ")} <= has[name]


def test_the_command_line_prints_them(tmp_path: Path) -> None:
    folder = Folder(tmp_path).filled()
    folder.put("lake/a", lines()[:-3])
    told = folder.audit(1).report
    shown = folder.run("report", "--metrics", "openmetrics")
    assert shown.status == 1  # as the report's
    assert shown.out == openmetrics.render(parse(json.dumps(told)))
    shown = folder.run("report", "--metrics", "opentsdb", "--origins")
    points = [parsed(line) for line in shown.out.splitlines()]
    lost = [p.value for p in points if p.tags.get("kind") == "lost" and "origin" in p.tags]
    assert lost == [3.0] * len([s for s in told["stages"] if s["against"] is not None])
    for wrong in (["--json"], ["--window", "2026-03-01T10:00"], ["--stage", "lake"]):
        refused = folder.run("report", "--metrics", "openmetrics", *wrong)
        assert refused.status == 2
        assert f"{wrong[0]} does not go with it" in refused.err
    assert folder.run("report", "--origins").status == 2
