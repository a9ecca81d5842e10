"""The pipeline file: what it may say, and how every mistake in it is told."""

import contextlib
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fidelity.config import Pipeline, Place, RecordSpec, Stage, Targets, load, mask, shown_options
from fidelity.config.loading import PIPELINE_KEYS, STAGE_KEYS
from fidelity.config.masking import MASK
from fidelity.config.record import PLACE_KEYS, RECORD_KEYS
from fidelity.config.showing import shown
from fidelity.config.values import duration, duration_text, one_in, share, share_text
from fidelity.errors import ConfigError, UsageError

MINUTE = 60_000_000

DESIGN = """
    pipeline: app-logs
    store: ./fidelity-store            # local path, s3://..., hdfs://...
    window: 10m
    settle: 30m
    record: {format: json, id: fid, time: ts, stream: type, origin: host}
    stages:
      source:    {kind: files, path: "logs/*.jsonl"}
      local:     {kind: kafka, after: source, brokers: "${KAFKA_LOCAL}", topic: logs}
      aggregate: {kind: kafka, after: local, brokers: "${KAFKA_AGG}", topic: dc1.logs}
      lake:      {kind: files, after: aggregate, path: "s3://lake/logs/**/*.parquet",
                  record: {format: parquet}}
    targets:
      completeness: 99.99999%
      duplicates: 0.0001%
      streams: {debug: {completeness: 99.9%}}
"""

SMALL = """
    pipeline: p
    store: s
    stages:
      source: {kind: files, path: a.jsonl}
"""


class File:
    """A pipeline file of a test."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "pipeline.yaml"

    def load(self, text: str) -> Pipeline:
        self.path.write_text(textwrap.dedent(text), "utf-8")
        return load(self.path)

    def refuses(self, text: str) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load(text)
        told = str(caught.value)
        assert told.startswith(str(self.path))
        return told.removeprefix(f"{self.path}: ")

    def source(self, words: str, top: str = "") -> Stage:
        """The source stage with these words, in a file with those at its top."""
        return self.load(_with_source(words, top)).source

    def refuses_source(self, words: str, top: str = "") -> str:
        return self.refuses(_with_source(words, top))


def _with_source(words: str, top: str) -> str:
    return f"pipeline: p\nstore: s\n{top}\nstages:\n  source: {{{words}}}\n"


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


# What a file may say


def test_the_file_of_the_design_is_understood(
    file: File, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KAFKA_LOCAL", "one:9092")
    monkeypatch.setenv("KAFKA_AGG", "two:9092, three:9092")
    pipeline = file.load(DESIGN)
    record = RecordSpec(stream=Place(field="type"), origin=Place(field="host"))
    assert pipeline == Pipeline(
        name="app-logs",
        store=str(tmp_path / "fidelity-store"),
        window=10 * MINUTE,
        settle=30 * MINUTE,
        stages=(
            Stage(
                name="source", kind="files", paths=(str(tmp_path / "logs/*.jsonl"),), record=record
            ),
            Stage(
                name="local", kind="kafka", after="source", brokers="one:9092", topics=("logs",),
                record=record,
            ),
            Stage(
                name="aggregate", kind="kafka", after="local", brokers="two:9092,three:9092",
                topics=("dc1.logs",), record=record,
            ),
            Stage(
                name="lake", kind="files", after="aggregate",
                paths=("s3://lake/logs/**/*.parquet",),
                record=record.model_copy(update={"format": "parquet"}),
            ),
        ),
        targets=Targets(completeness=0.9999999, duplicates=0.000001),
        stream_targets={"debug": Targets(completeness=0.999, duplicates=0.000001)},
    )  # fmt: skip


def test_little_needs_to_be_said(file: File) -> None:
    pipeline = file.load(SMALL)
    assert (pipeline.window, pipeline.settle, pipeline.workers) == (10 * MINUTE, 30 * MINUTE, 0)
    assert pipeline.targets == Targets(completeness=1.0, duplicates=0.0, unexpected=0.0)
    assert pipeline.source.record == RecordSpec()


def test_every_kind_of_place_is_understood(file: File) -> None:
    stage = file.source(
        "kind: kafka, brokers: b, topic: t, record: {id: {header: fid, as: hex}, "
        "time: {from: timestamp}, stream: {from: topic}, origin: {constant: here}}"
    )
    assert stage.record == RecordSpec(
        id=Place(header="fid", encoding="hex"),
        time=Place(builtin="timestamp"),
        stream=Place(builtin="topic"),
        origin=Place(constant="here"),
    )
    stage = file.source(
        "kind: files, path: a, record: {id: {regex: 'seq=(\\d+)', as: sequence}, "
        "time: {field: /at/time, unit: ms}, stream: {path: '/([^/]+)/[^/]+$'}, origin: content}"
    )
    assert stage.record.id == Place(regex=r"seq=(\d+)", encoding="sequence")
    assert stage.record.time == Place(field="/at/time", unit="ms")
    assert stage.record.stream == Place(path="/([^/]+)/[^/]+$")
    assert stage.record.origin == Place(field="content")


def test_how_a_value_is_read_may_be_said_without_where(file: File) -> None:
    stage = file.source("kind: files, path: a, record: {id: {as: opaque}, time: {unit: s}}")
    assert stage.record.id == Place(field="fid", encoding="opaque")
    assert stage.record.time == Place(field="ts", unit="s")


def test_an_id_of_the_content_is_opaque(file: File) -> None:
    record = file.source("kind: files, path: a, record: {id: content}").record
    assert record.id == Place(builtin="content")
    assert record.opaque


def test_a_stages_record_goes_over_the_pipelines(file: File) -> None:
    top = "record: {id: n, time: at, origin: host}"
    record = file.source("kind: files, path: a, record: {id: {field: m, as: int}}", top).record
    assert record.id == Place(field="m", encoding="int")  # as a whole: no half of either
    assert record.time == Place(field="at")
    assert record.stream == Place(field="stream")


def test_files_that_end_in_parquet_need_no_format(file: File) -> None:
    top = "record: {format: text}"
    record = file.source("kind: files, path: ['a/*.parquet', 'b/*.parquet']", top).record
    assert record.format == "parquet"
    assert record.time == Place(field="ts")
    assert file.source("kind: files, path: [a.parquet, b.json]").record.format == "json"
    said = file.source("kind: files, path: a.parquet, record: {format: json}")
    assert said.record.format == "json"


def test_lines_of_text_begin_with_their_time(file: File) -> None:
    record = file.source("kind: files, path: a, record: {format: text}").record
    assert record.time == Place(builtin="line_start")
    record = file.source("kind: files, path: a, record: {format: text, time: at}").record
    assert record.time == Place(field="at")


def test_manifests_have_their_own_format(file: File) -> None:
    top = "record: {format: text, id: {header: x}}"
    assert file.source("kind: manifests, path: m/*", top).record.format == "manifest"
    stage = file.source("kind: manifests, brokers: [a, 'b:1'], topic: [m, n]")
    assert (stage.brokers, stage.topics) == ("a,b:1", ("m", "n"))


def test_stages_may_be_written_in_any_order(file: File) -> None:
    pipeline = file.load("""
        pipeline: p
        store: s
        stages:
          lake: {kind: files, path: c, after: queue}
          queue: {kind: files, path: b, after: hosts}
          hosts: {kind: files, path: a}
          copy: {kind: files, path: d, after: queue}
    """)
    assert [stage.name for stage in pipeline.stages] == ["hosts", "queue", "lake", "copy"]
    assert pipeline.source.name == "hosts"


def test_contracts_are_told_by_the_field_they_are_about(file: File) -> None:
    def edge(words: str, record: str = "{stream: type, origin: host}") -> Stage:
        return file.load(f"""
            pipeline: p
            store: s
            record: {record}
            stages:
              source: {{kind: files, path: a}}
              lake: {{kind: files, path: b, after: source, {words}}}
        """).stages[1]

    assert edge("keep: {type: [audit, access]}").keep_streams == ("audit", "access")
    both = edge("keep: {type: audit, host: h1}, sample: 1/100")
    assert (both.keep_streams, both.keep_origins, both.sample) == (("audit",), ("h1",), 100)
    constant = edge("keep: {stream: [a], origin: [b]}", "{stream: {path: '(x)'}}")
    assert (constant.keep_streams, constant.keep_origins) == (("a",), ("b",))


def test_words_stay_as_written(file: File) -> None:
    record = "record: {id: 007, time: on, stream: no, origin: 2026-01-01}"
    places = file.source(f"kind: kafka, brokers: b, topic: 1.10, {record}")
    assert places.topics == ("1.10",)
    assert places.record.stream == Place(field="no")
    assert (places.record.id.field, places.record.origin.field) == ("007", "2026-01-01")
    options = file.source("kind: files, path: a, options: {x: true, y: 010, z: ''}").options
    assert options == {"x": "true", "y": "010", "z": ""}


def test_variables_are_filled_in(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "x: [1]\n# not YAML")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NONE", raising=False)
    words = '{a: "${A}-${A}", b: "${NONE:-d}", c: "${EMPTY:-e}", d: "$${A}", e: "$A ${EMPTY}"}'
    assert file.source(f"kind: files, path: a, options: {words}").options == {
        "a": "x: [1]\n# not YAML-x: [1]\n# not YAML", "b": "d", "c": "e", "d": "${A}", "e": "$A ",
    }  # fmt: skip


def test_yaml_anchors_and_merges_work(file: File) -> None:
    pipeline = file.load("""
        pipeline: p
        store: s
        stages:
          source: &it {kind: kafka, brokers: b, topic: a, options: &o {client.id: y}}
          next: {<<: *it, after: source, topic: c, options: {<<: [*o], check.crcs: "true"}}
    """)
    assert pipeline.stages[1].topics == ("c",)
    assert pipeline.stages[1].brokers == "b"
    assert pipeline.stages[1].options == {"client.id": "y", "check.crcs": "true"}


def test_local_paths_are_taken_from_the_files_folder(file: File, tmp_path: Path) -> None:
    folder = tmp_path / "odd [1]"
    folder.mkdir()
    pipeline = File(folder).load("""
        pipeline: p
        store: ../s
        stages:
          source: {kind: files, path: [./a/*.log, /abs/x, "s3://b/k", "~/h"]}
    """)
    home = os.path.expanduser("~")
    kafka = File(folder).source(
        "kind: kafka, brokers: b, topic: t, options: {ssl.ca.location: ca.pem, client.id: ./x}"
    )
    assert kafka.options == {"ssl.ca.location": f"{folder}/ca.pem", "client.id": "./x"}
    assert pipeline.store == str(tmp_path / "s")
    assert pipeline.source.paths == (
        f"{tmp_path}/odd [[]1]/a/*.log", "/abs/x", "s3://b/k", f"{home}/h",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("10m", 600_000_000), ("30s", 30_000_000), ("1h30m", 5_400_000_000), ("1d", 86_400_000_000),
     ("1.5s", 1_500_000), ("250ms", 250_000), ("1h 5m", 3_900_000_000)],
)  # fmt: skip
def test_durations(text: str, microseconds: int) -> None:
    assert duration(text) == microseconds


@given(st.integers(0, 400 * 86_400_000).map(lambda n: n * 1000))
def test_a_duration_is_shown_as_it_could_be_written(microseconds: int) -> None:
    assert duration(duration_text(microseconds)) == microseconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("99.99%", 0.9999), ("0.999", 0.999), ("100%", 1.0), ("1", 1.0), ("0", 0.0),
     ("0.0001 %", 1e-6), ("99.99999%", 0.9999999)],
)  # fmt: skip
def test_shares(text: str, value: float) -> None:
    assert share(text) == value


@given(st.floats(0, 1))
def test_a_share_is_shown_as_it_could_be_written(value: float) -> None:
    assert share(share_text(value)) == value


@pytest.mark.parametrize(("text", "k"), [("1/100", 100), ("1%", 100), ("0.01", 100), ("1/1", 1)])
def test_samples(text: str, k: int) -> None:
    assert one_in(text) == k


def test_a_digest_changes_with_the_record_and_the_window_and_nothing_else() -> None:
    record = RecordSpec()
    assert record.digest(10) == RecordSpec(id=Place(field="fid")).digest(10)
    others = (record.digest(11), RecordSpec(format="text").digest(10),
              RecordSpec(id=Place(field="fid", encoding="int")).digest(10))  # fmt: skip
    assert len({record.digest(10), *others}) == 4


def test_a_stage_is_found_by_its_name(file: File) -> None:
    pipeline = file.load(SMALL)
    assert pipeline.stage("source").name == "source"
    with pytest.raises(UsageError, match="Did you mean `source`"):
        pipeline.stage("sorce")
    with pytest.raises(UsageError, match="The stages are source"):
        pipeline.stage("zzz")


# What is refused


def test_all_problems_are_told_at_once_with_line_and_path(file: File) -> None:
    told = file.refuses("""\
        pipelin: p
        store: s
        window: 10
        record: {format: jsn}
        stages:
          source: {kind: files}
          lake: {kind: files, path: b, after: sourc}
        targets: {completeness: 99.9}
    """)
    assert told.splitlines()[0] == "7 problems:"
    for line in (
        "  `pipeline` is missing",
        "  line 1, pipelin: unknown key. Did you mean `pipeline`?",
        "  line 3, window: `10` is not a duration: write a number and ms, s, m, h or d, as 10m",
        "  line 4, record.format: `jsn` is not one of json, text, parquet. Did you mean `json`?",
        "  line 6, stages.source: `path` is missing",
        "  line 7, stages.lake.after: there is no stage `sourc`. Did you mean `source`?",
        "  line 8, targets.completeness: `99.9` is not between 0 and 100 %. Is `99.9%` meant?",
    ):
        assert line in told.splitlines()


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("window", "0s", "window: `0s` is not between 1s and 31d"),
        ("window", "32d", "not between"),
        ("window", "-5m", "not a duration"),
        ("window", "10 minutes", "not a duration"),
        ("window", "[1m]", "must be a single value"),
        ("window", "1.0000001s", "finer than a microsecond"),
        ("window", "", "has no value"),
        ("settle", "400d", "longer than 366d"),
        ("settle", "soon", "not a duration"),
        ("retire_after", "tomorrow", "not a duration"),
        ("workers", "-1", "not a whole number"),
        ("workers", "two", "not a whole number"),
        ("options", "x", "must be a mapping"),
        ("options", "{a: [1]}", "options.a: must be a single value"),
        ("record", "[id]", "record: must be a mapping"),
        ("record", "{idd: x}", "record.idd: unknown key. Did you mean `id`?"),
        ("targets", "{completeness: 101%}", "targets.completeness"),
        ("targets", "{completeness: most}", "is not a share"),
        ("targets", "{duplicates: -1%}", "not between"),
        ("targets", "{completeness: nan}", "not between"),
        ("targets", "{streams: [a]}", "targets.streams: must be a mapping"),
        ("targets", "{streams: {a: {lost: 1}}}", "targets.streams.a.lost: unknown key"),
    ],
)
def test_a_wrong_value_at_the_top_is_told(file: File, key: str, text: str, told: str) -> None:
    assert told in file.refuses_source("kind: files, path: a", f"{key}: {text}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("path: a", "stages.source: `kind` is missing"),
        ("kind: file, path: a", "Did you mean `files`?"),
        ("kind: files, paths: a", "paths: unknown key. Did you mean `path`?"),
        ("kind: files, path: []", "is an empty list"),
        ("kind: files, path: ''", "is empty"),
        ("kind: files, path: [{a: b}]", "a text or a list of texts"),
        ("kind: files, path: a, topic: t", "topic: does not belong to a stage of kind files"),
        ("kind: kafka, topic: t", "`brokers` is missing"),
        ("kind: kafka, brokers: b", "`topic` is missing"),
        ("kind: kafka, brokers: b, topic: t, options: {sasl.passwd: x}", "sasl.password?"),
        ("kind: kafka, brokers: b, topic: t, options: {check.crcs: s3cret}", "must be one of true"),
        ("kind: manifests", "either `path`, or `brokers` and `topic`"),
        ("kind: manifests, topic: t", "`brokers` is missing"),
        ("kind: manifests, path: a, record: {format: json}", "their own format"),
        ("kind: files, path: a, sample: 1/2", "the source has none"),
        ("kind: files, path: a, keep: {stream: [x]}", "the source has none"),
        ("kind: files, path: a, after: source", "a cycle: source comes after source"),
        ("kind: files, path: a, record: {id: {}}", "exactly one of field, header, regex, from"),
        ("kind: files, path: a, record: {id: {field: a, regex: (b)}}", "exactly one of"),
        ("kind: files, path: a, record: {id: [a]}", "record.id: must be a mapping"),
        ("kind: files, path: a, record: {id: {regex: 'a('}}", "not a regular expression"),
        ("kind: files, path: a, record: {id: {regex: 'a'}}", "has 0 groups"),
        ("kind: files, path: a, record: {stream: {path: '(a)(b)'}}", "has 2 groups"),
        ("kind: files, path: a, record: {id: {constant: x}}", "constant: unknown key"),
        ("kind: files, path: a, record: {id: {field: x, as: octal}}", "not one of auto, hex"),
        ("kind: files, path: a, record: {id: {from: topic}}", "not one of key, content"),
        ("kind: files, path: a, record: {id: {from: content, as: hex}}", "no other encoding"),
        ("kind: files, path: a, record: {time: {unit: min}}", "not one of auto, iso"),
        ("kind: files, path: a, record: {id: {header: x}}", "only Kafka's records have a `header`"),
        ("kind: files, path: a, record: {time: {from: timestamp}}", "only Kafka's records"),
        ("kind: files, path: a, record: {time: {from: line_start}}", "only lines of text"),
        ("kind: files, path: a.parquet, record: {id: {regex: (x)}}", "has columns"),
        ("kind: files, path: a.parquet, record: {id: content}", "has columns"),
        ("kind: kafka, brokers: b, topic: t, record: {origin: {path: (x)}}", "have no `path`"),
    ],
)
def test_a_wrong_stage_is_told(file: File, words: str, told: str) -> None:
    assert told in file.refuses_source(words)


def test_what_a_stage_takes_over_and_cannot_use_is_told_at_the_stage(file: File) -> None:
    top = "record: {format: text, id: {regex: 'n=(.*)'}}"
    told = file.refuses_source("kind: files, path: a.parquet", top)
    assert "stages.source" in told
    assert "give it a `id` of its own" in told


def stages(*edges: tuple[str, str | None], **more: str) -> str:
    lines = ["pipeline: p", "store: s", "stages:"]
    for name, after in edges:
        text = f"kind: files, path: {name}" + (f", after: {after}" if after else "")
        lines.append(f"  {name}: {{{text}{more.get(name, '')}}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ([("a", None), ("b", None)], "stages.b: a second stage without `after`: only one, here a"),
        ([("a", None), ("b", "c"), ("c", "b")], "a cycle: b comes after c comes after b"),
        ([("a", "b"), ("b", "a")], "a cycle: a comes after b comes after a"),
        ([("a", None), ("b", "nowhere")], "stages.b.after: there is no stage `nowhere`"),
        ([("a", None), ("source", "a")], "only the first stage may be named `source`"),
        ([("a", None), ("b c", "a")], "`b c` is not a name"),
        ([("a", None), ("../b", "a")], "`../b` is not a name"),
    ],
)
def test_stages_that_are_no_tree_are_told(
    file: File, edges: list[tuple[str, str | None]], told: str
) -> None:
    assert told in file.refuses(stages(*edges))


def test_a_chain_that_ends_in_a_cycle_tells_the_cycle_once(file: File) -> None:
    told = file.refuses(stages(("a", None), ("b", "c"), ("c", "d"), ("d", "c"), ("e", "b")))
    assert told.count("cycle") == 1
    assert "c comes after d comes after c" in told


def test_manifests_can_only_be_the_source(file: File) -> None:
    told = file.refuses("""
        pipeline: p
        store: s
        stages:
          source: {kind: files, path: a}
          counts: {kind: manifests, path: b, after: source}
    """)
    assert "only the source can be of this kind" in told


def test_a_contract_about_nothing_is_told(file: File) -> None:
    def told(words: str) -> str:
        return file.refuses(stages(("source", None), ("b", "source"), b=f", {words}"))

    assert "must name what passes, by stream or origin" in told("keep: {}")
    assert "keep.typ: unknown key" in told("keep: {typ: [a]}")
    assert "is an empty list" in told("keep: {stream: []}")
    assert "`3` is not a sample" in told("sample: 3")
    assert "`2/3` is not a sample" in told("sample: 2/3")
    assert "`1/0` is not a sample" in told("sample: 1/0")
    assert "would keep no id" in told("sample: 1/5000000000")
    assert "would keep no id" in told("sample: 1/2147483648")


def test_samples_that_leave_nothing_together_are_told(file: File) -> None:
    way = stages(
        ("source", None), ("b", "source"), ("c", "b"), b=", sample: 1/65536", c=", sample: 1/65537"
    )
    told = file.refuses(way)
    assert "stages.c.sample: with the samples before it keeps one id in 4,295,032,832" in told


def test_a_key_that_is_given_twice_is_told(file: File) -> None:
    told = file.refuses("pipeline: a\nstore: s\npipeline: b\nstages: {a: {kind: files, path: x}}\n")
    assert told == "line 3, pipeline: this key is given twice, first in line 1"
    told = file.refuses(SMALL + "      source: {kind: files, path: b}\n")
    assert "stages.source: this key is given twice" in told


def test_a_missing_variable_is_told_where_it_is_used(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    told = file.refuses_source(
        "kind: kafka, topic: t, brokers: '${NOT_SET}'", "window: '${NOT_SET}'"
    )
    assert told.splitlines() == [
        "2 problems:",
        "  line 3, window: the environment variable NOT_SET is not set",
        "  line 5, stages.source.brokers: the environment variable NOT_SET is not set",
    ]
    assert "without a variable's name" in file.refuses_source("kind: files, path: 'a${'")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the pipeline file is empty"),
        (b"# nothing\n", "the pipeline file is empty"),
        (b"- a\n- b\n", "not a pipeline file: it must be a mapping"),
        (b"just words", "not a pipeline file"),
        (b"{}", "`pipeline` is missing"),
        (b"a: [1\nb: 2", "not valid YAML"),
        (b"a:\n\t- b", "not valid YAML"),
        (b"pipeline: \xff\xfe", "not UTF-8"),
        (b"pipeline: a\x00b", "not valid YAML"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML"),
        (b"? [a]\n: b", "a key must be a plain text"),
        (b"[" * 100_000, "nested too deeply"),
        (b"a: &a [*a]", "for ever"),
        (b"x" * (1 << 20) + b"xx", "larger than 1 MiB"),
        (b"stages: 3\npipeline: a\nstore: b", "stages: must be a mapping"),
        (b"stages: {}\npipeline: a\nstore: b", "give at least one stage"),
        (b"stages: {a: }\npipeline: a\nstore: b", "stages.a: has no value"),
        (b"pipeline: a b\nstore: b\nstages: {a: {kind: files, path: x}}", "`a b` is not a name"),
        (b"pipeline: [a]\nstore: b\nstages: {a: {kind: files, path: x}}", "a single value"),
    ],
)
def test_what_is_no_pipeline_file_is_told(file: File, content: bytes, told: str) -> None:
    file.path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file.path)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 600


def test_aliases_cannot_grow_without_end(file: File) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "for ever" in file.refuses("\n".join(lines))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file.*`fidelity init` writes"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)


def test_a_mark_at_the_start_of_the_file_is_no_problem(file: File) -> None:
    file.path.write_bytes(b"\xef\xbb\xbf" + textwrap.dedent(SMALL).encode())
    assert load(file.path).name == "p"


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([*PIPELINE_KEYS, *STAGE_KEYS, *RECORD_KEYS, *PLACE_KEYS["origin"]]),
        inner, max_size=5),
    max_leaves=25,
))  # fmt: skip
def test_no_file_at_all_gives_a_traceback(tmp_path_factory: Any, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump({"stages": {"source": value}, "record": value} | (
        value if isinstance(value, dict) else {}
    )), "utf-8")  # fmt: skip
    with contextlib.suppress(ConfigError):
        assert load(path).stages


# Secrets


def test_secrets_are_masked_wherever_a_pipeline_is_shown(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCKET_TOKEN", "tok-4711")
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter-2")
    pipeline = file.load("""
        pipeline: p
        store: s3://user:s3cr3t@bucket/x?sig_token=abc&y=1
        options: {aws_secret_access_key: k-123456, region: eu, custom: "${BUCKET_TOKEN}"}
        stages:
          source:
            kind: kafka
            brokers: b:9092
            topic: t
            options:
              sasl.username: u
              sasl.password: ${KAFKA_PASSWORD}
              ssl.key.password: abcdef
              security.protocol: SASL_SSL
    """)
    told = f"{shown(pipeline)} {pipeline!r} {pipeline}"
    for secret in ("s3cr3t", "abc&", "k-123456", "tok-4711", "hunter-2", "abcdef"):
        assert secret not in told
    assert "SASL_SSL" in str(shown(pipeline))
    assert shown_options({"sasl.jaas.config": "password=abc", "ACCESS-KEY": "k"}) == dict.fromkeys(
        ("sasl.jaas.config", "ACCESS-KEY"), MASK
    )
    words = shown(pipeline)
    assert words["store"] == "s3://********@bucket/x?sig_token=********&y=1"
    assert words["options"]["region"] == "eu"
    assert mask("SASL login of hunter-2 failed") == "SASL login of ******** failed"


@pytest.mark.timeout(60)  # it took minutes
@pytest.mark.parametrize("part", ["a", "http", "?", "://", "&key", "+"])
def test_masking_passes_over_a_long_text_once(part: str) -> None:
    text = part * (200_000 // len(part))
    assert (
        mask(f"{text} s3://user:word@bucket?token=t") == f"{text} s3://{MASK}@bucket?token={MASK}"
    )


def test_a_problems_text_tells_no_secret(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter-3")
    words = "kind: kafka, brokers: b, topic: t, options: {sasl.password: '${KAFKA_PASSWORD}'}"
    told = file.refuses_source(words, "window: '${KAFKA_PASSWORD}'")
    assert "hunter-3" not in told


def test_what_is_shown_is_read_as_the_same_pipeline(file: File) -> None:
    pipeline = file.load("""
        pipeline: p
        store: /s
        window: 90s
        settle: 0s
        workers: 3
        record: {id: {field: n, as: sequence}, time: {field: at, unit: ms}, stream: type}
        stages:
          hosts: {kind: files, path: [/a/*, /b]}
          queue: {kind: kafka, after: hosts, brokers: "a,b", topic: [x, y], options: {client.id: b},
                  record: {id: {header: fid}, time: {from: timestamp}}}
          lake: {kind: files, after: queue, path: "s3://x/*.parquet", sample: 1/7,
                 keep: {type: [u, v]}}
          text: {kind: files, after: queue, path: /t, record: {format: text, id: content,
                 stream: {constant: u}, origin: {path: "(.*)"}, time: {from: line_start}}}
        targets: {completeness: 99.9%, flaws: 1%, streams: {u: {duplicates: 2%}}}
    """)
    assert file.load(yaml.safe_dump(shown(pipeline), sort_keys=False)) == pipeline


def test_a_pipeline_that_is_no_tree_cannot_be_made() -> None:
    source, sink = Stage(name="a", kind="files"), Stage(name="b", kind="files", after="a")
    assert Pipeline(name="p", store="s", stages=(source, sink)).source == source
    with pytest.raises(ValueError, match="before the stage it comes after"):
        Pipeline(name="p", store="s", stages=(sink, source))
    with pytest.raises(ValueError, match="given twice"):
        Pipeline(name="p", store="s", stages=(source, source))
