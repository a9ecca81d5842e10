"""Whatever a user can write has a place in the documentation."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from fidelity.check.columns import COLUMNS
from fidelity.cli import app
from fidelity.config import load
from fidelity.config.document import parse
from fidelity.config.loading import ENGINE_KEYS, KINDS, PIPELINE_KEYS, STAGE_KEYS
from fidelity.config.model import (
    ENGINE_VARIABLE,
    ENGINES,
    Engine,
    OpenMetrics,
    OpenTsdb,
    Pipeline,
    Place,
    Publish,
    RecordSpec,
    Stage,
    Targets,
)
from fidelity.config.publishing import (
    LOGIN_KEYS,
    OPENMETRICS_KEYS,
    OPENTSDB_KEYS,
    PUBLISH_KEYS,
)
from fidelity.config.record import ENCODINGS, FORMATS, FROM, PLACE_KEYS, RECORD_KEYS, TIME_UNITS
from fidelity.config.targets import EXPECTATION_KEYS, OVERS, TARGET_KEYS
from fidelity.sources.kafka_options import OPTIONS

DOCS = Path(__file__).parents[1] / "docs"


def section(page: str, title: str) -> str:
    """The text under a heading of a page, up to the next of the same level."""
    text = (DOCS / page).read_text("utf-8")
    found = re.search(rf"^(#+) {re.escape(title)}(?![\w-]).*?\n(.*?)(?=^\1 |\Z)", text, re.S | re.M)
    assert found, f"{page} has no section {title}"
    return found.group(2)


def commands(group: Any, prefix: str = "fidelity") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("At the top", PIPELINE_KEYS),
        ("Stages", (*STAGE_KEYS, *KINDS)),
        ("Record", (*RECORD_KEYS, *FORMATS, *ENCODINGS, *TIME_UNITS)),
        ("Record", tuple({key for keys in (*PLACE_KEYS.values(), *FROM.values()) for key in keys})),
        ("Targets", (*TARGET_KEYS, "streams", "stages")),
        ("Expectations", (*EXPECTATION_KEYS, *OVERS)),
        ("Engine", (*ENGINE_KEYS, *ENGINES, ENGINE_VARIABLE)),
        ("Publish", (*PUBLISH_KEYS, *OPENMETRICS_KEYS, *OPENTSDB_KEYS, *LOGIN_KEYS)),
    ],
)
def test_every_key_of_the_pipeline_file_is_documented(title: str, keys: tuple[str, ...]) -> None:
    text = section("configuration.md", title)
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_every_setting_of_the_kafka_client_is_documented() -> None:
    text = section("configuration.md", "Options")
    assert [name for name in OPTIONS if f"| `{name}` |" not in text] == []


def test_every_attribute_of_the_model_has_its_key_in_the_file() -> None:
    written = {"name": "pipeline", "store_options": "options", "stream_targets": "streams"}
    keys = {*PIPELINE_KEYS, "streams"}
    assert {written.get(name, name) for name in Pipeline.model_fields} == keys - {"record"}
    written = {"paths": "path", "topics": "topic", "keep_streams": "keep", "keep_origins": "keep"}
    assert {written.get(n, n) for n in Stage.model_fields} - {"name"} == set(STAGE_KEYS)
    assert set(RecordSpec.model_fields) == set(RECORD_KEYS)
    assert set(Targets.model_fields) == set(TARGET_KEYS)
    assert set(Engine.model_fields) == set(ENGINE_KEYS)
    assert set(Publish.model_fields) == set(PUBLISH_KEYS)
    assert set(OpenMetrics.model_fields) == set(OPENMETRICS_KEYS)
    assert set(OpenTsdb.model_fields) == set(OPENTSDB_KEYS)
    written = {"builtin": "from", "encoding": "as"}
    keys = {key for keys in PLACE_KEYS.values() for key in keys}
    assert {written.get(name, name) for name in Place.model_fields} == keys


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_its_options_are_documented(name: str) -> None:
    text = section("commands.md", f"`{name}")
    for parameter in COMMANDS[name].params:
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            if option.startswith("--") and option != "--help":
                assert f"`{option}" in text, f"{name} {option}"


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_is_documented_that_a_command_does_not_have(name: str) -> None:
    has = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    told = set(re.findall(r"`(--[a-z-]+)", section("commands.md", f"`{name}")))
    assert told <= has


def test_options_that_are_shared_are_explained_once() -> None:
    text = section("commands.md", "Options that several commands share")
    uses: dict[str, int] = {}
    for command in COMMANDS.values():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                uses[parameter.opts[0]] = uses.get(parameter.opts[0], 0) + 1
    assert [
        option for option, times in uses.items() if times > 1 and f"`{option}" not in text
    ] == []


def test_every_command_says_what_it_does() -> None:
    for name, command in COMMANDS.items():
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize("page", ["configuration.md", "object-stores.md", "../README.md"])
def test_the_pipelines_that_are_shown_are_valid(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_LOCAL", "localhost:9092")
    monkeypatch.setenv("KAFKA_AGG", "localhost:9093")
    monkeypatch.setenv("LAKE_KEY", "key")
    monkeypatch.setenv("LAKE_SECRET", "secret")
    shown = re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text("utf-8"), re.S)
    whole = [text for text in shown if "pipeline:" in text]
    assert whole
    for text in whole:
        (tmp_path / "pipeline.yaml").write_text(text, "utf-8")
        assert load(tmp_path / "pipeline.yaml").stages


def test_the_template_explains_only_keys_that_exist(tmp_path: Path) -> None:
    from fidelity.cli.preparing import TEMPLATE

    file = tmp_path / "pipeline.yaml"
    file.write_text(TEMPLATE, "utf-8")
    assert load(file).source.name == "source"
    # What is commented out must be valid as well, once its `# ` is removed.
    file.write_text(re.sub(r"^( +)# (?=[a-z.]+: ?|  )", r"\1", TEMPLATE, flags=re.M), "utf-8")
    told = parse(file)
    assert not told.problems or all("KAFKA_PASSWORD" in str(p) for p in told.problems)
    queue = yaml.safe_load(file.read_text("utf-8"))["stages"]["queue"]
    assert queue["options"]["sasl.mechanism"] == "SCRAM-SHA-256"
    assert yaml.safe_load(file.read_text("utf-8"))["stages"]["lake"]["sample"] == "1/100"


def test_the_exit_statuses_are_told() -> None:
    text = (DOCS / "commands.md").read_text("utf-8")
    for status in ("| 0 |", "| 1 |", "| 2 |", "| 130 |"):
        assert status in text


def test_the_columns_that_expectations_may_ask_about_are_told_as_the_code_has_them() -> None:
    text = (DOCS / "checks.md").read_text("utf-8")
    told = re.search(r"<!-- columns: .*? -->\n(.*?)<!-- end of columns -->", text, re.S)
    assert told
    assert told.group(1) == columns_in_words()


def columns_in_words() -> str:
    """The tables of docs/checks.md. To bring them up to date, put this text between its marks."""
    parts = []
    for over, columns in COLUMNS.items():
        lines = [f"| `{name}` | {meaning} |" for name, meaning in columns.items()]
        parts.append("\n".join([f"| column of `{over}` | meaning |", "|---|---|", *lines]))
    return "\n\n".join(parts) + "\n"


BARE_NAME = re.compile(r"pip3? install [^\n`&#]*(?<![\w./<-])fidelity(?![\w/*-])|\bfidelity\[[a-z]")


@pytest.mark.parametrize(
    "text", ["pip install fidelity", "pip install -U 'fidelity>=0.1'", "fidelity[spark]"]
)
def test_the_bare_name_is_told_from_a_wheel_and_a_folder(text: str) -> None:
    assert BARE_NAME.search(text)
    assert not BARE_NAME.search("pip install '.[spark]'; pip install fidelity-*.whl venv-pack")


def test_nothing_tells_to_install_from_an_index_what_is_another_project_there() -> None:
    root = DOCS.parent
    folders = ("docs", "fidelity", "jobs", "examples", "airflow_dags", "benchmarks", "scripts")
    inside = [path for folder in folders for path in (root / folder).rglob("*")]
    kinds = {".md", ".py", ".sh", ".yaml"}
    pages = [root / "README.md", *(path for path in inside if path.suffix in kinds)]
    assert len(pages) > 100
    told = [str(page) for page in pages if BARE_NAME.search(page.read_text("utf-8"))]
    assert told == []


def test_every_setting_of_the_airflow_dags_is_documented_with_its_default() -> None:
    file = (DOCS.parent / "airflow_dags" / "fidelity_dags.py").read_text("utf-8")
    settings = set(re.findall(r'^    "(FIDELITY_[A-Z_]+)":', file, re.M))
    assert len(settings) == 8
    page = (DOCS / "airflow.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(FIDELITY_[A-Z_]+)` \|", page, re.M)) == settings
    assert set(re.findall(r"FIDELITY_[A-Z_]+", file)) == settings
