"""Stars on S3 and HDFS are written as on local disk; DuckDB, pandas and Spark read the same."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from audits import Folder
from lakes import Lake
from stars import PIPELINE, Star, figures, report

from fidelity.config.model import Engine
from fidelity.spark.session import session
from fidelity.star import Place, catalogue
from fidelity.star.schema import FACTS, TABLES, VERSION
from fidelity.star.write import publish_star

FIXTURE = Path(__file__).parent / "data" / f"star-v{VERSION}"
"""Written by the first version of the schema: `python tests/stars.py` made it."""

CONTENTS = {0: 1, 7: 2}


class Hasty(Place):
    """Nobody reads while it is written."""

    grace = 0.0


def test_a_star_on_s3_and_hdfs_holds_what_it_does_on_local_disk(lake: Lake, tmp_path: Path) -> None:
    place = Hasty(f"{lake.uri}/bi/star", lake.options)
    local = Star(tmp_path)
    for each in (report("r1", 1, {0: 1, 1: 1, 8: 1}), report("r2", 2, CONTENTS)):
        publish_star(place, PIPELINE, each, many=2)
        local.publish(each, many=2)
    # The last one is of the older run: of window 8, r2 said what that one did.
    for repeated in (report("r2", 2, {0: 3, 7: 2, 8: 1}), report("r1", 1, {0: 1, 7: 2})):
        publish_star(place, PIPELINE, repeated, many=2)
        local.publish(repeated, many=2)
    copy = Star(copied(place, tmp_path / "copy"))
    assert copy.current() == local.current()
    assert copy.current()[8] == ("r2", figures(8, 1))
    assert len(copy.files()) == len(local.files())


def copied(place: Place, folder: Path) -> Path:
    """Every file of a star, copied to local disk."""
    waiting = [place.uri]
    while waiting:
        for entry in place.files.children(waiting.pop()):
            if entry.folder:
                waiting.append(entry.path)
                continue
            target = folder / "star" / entry.path.removeprefix(place.uri).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with place.files.open(entry.path) as file:
                target.write_bytes(file.read())
    return folder


def test_duckdb_reads_a_star_on_s3_by_its_catalogue(bucket: Lake, tmp_path: Path) -> None:
    place = Place(f"{bucket.uri}/star", bucket.options)
    publish_star(place, PIPELINE, report("r1", 1, CONTENTS))
    file = tmp_path / "catalog.duckdb"
    catalogue.make(place, file)
    with duckdb.connect() as connection:
        catalogue.reach(connection, place)  # as its reader does by LOAD httpfs and CREATE SECRET
        connection.execute(f"ATTACH '{file}' AS star (READ_ONLY); USE star")
        found = connection.execute("SELECT sum(observed)::BIGINT FROM balance").fetchall()
    assert found == [(sum(figures(w, s) for w, s in CONTENTS.items()),)]
    assert bucket.options["aws_secret_access_key"].encode() not in file.read_bytes()


@pytest.fixture
def star(tmp_path: Path) -> Star:
    """A star with a run that was replaced, one that restates, and a merge."""
    star = Star(tmp_path)
    for each in ("r1", 1, {0: 1, 1: 1}), ("r2", 2, CONTENTS), ("r2", 2, {0: 3, 7: 2}):
        star.publish(report(*each), many=2)
    return star


def test_pandas_reads_the_folders_as_they_are(star: Star) -> None:
    import pandas as pd

    read = {table.name: pd.read_parquet(f"{star.place.uri}/{table.name}") for table in TABLES}
    runs = read["dim_run"].sort_values("published_at").drop_duplicates("run", keep="last")
    said = read["dim_statement"].merge(runs, on="run_key")
    said = said.sort_values(["as_of", "run", "level"]).drop_duplicates("window", keep="last")
    facts = read["fact_balance"].merge(said[["statement_key"]], on="statement_key")
    wanted = sum(observed for _, observed in star.current().values())
    assert int(facts["observed"].sum()) == wanted
    assert set(read["fact_balance"]["day"]) == {"2026-03-01", "2026-03-02"}


@pytest.fixture
def spark() -> Iterator[Any]:
    """The session of this process, else one of this test's."""
    held = session(Engine(kind="spark", master="local[1]"))
    yield held.spark
    held.close()


def test_spark_reads_the_folders_as_they_are(star: Star, spark: Any) -> None:
    fact = spark.read.parquet(f"{star.place.uri}/fact_balance")
    said = spark.read.parquet(f"{star.place.uri}/dim_statement")
    runs = spark.read.parquet(f"{star.place.uri}/dim_run")
    for name, frame in (("fact", fact), ("said", said), ("runs", runs)):
        frame.createOrReplaceTempView(name)
    (row,) = spark.sql(
        """SELECT sum(observed) AS observed, min(day) AS day FROM fact
        JOIN (SELECT statement_key, row_number() OVER (PARTITION BY pipeline, window
                ORDER BY as_of DESC, run DESC, published_at DESC, level DESC) AS place
            FROM said JOIN runs USING (run_key)) USING (statement_key)
        WHERE place = 1"""
    ).collect()
    assert row.observed == sum(observed for _, observed in star.current().values())
    assert str(row.day) == "2026-03-01"


def test_a_star_written_by_the_first_version_is_read_and_goes_on(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE, tmp_path / "star")
    star = Star(tmp_path)
    assert star.current() == {0: ("r2", figures(0, 3)), 1: ("r1", figures(1, 1))} | {
        7: ("r2", figures(7, 2))
    }
    star.publish(report("r3", 3, {0: 4, 1: 1, 7: 2}), many=2)
    assert star.current()[0] == ("r3", figures(0, 4))
    for table in FACTS:
        for path in (FIXTURE / table.name).rglob("*.parquet"):
            assert set(pq.read_schema(path).names) <= set(table.schema.names)


TRIAL = "publish: {star: star}\n"


@pytest.fixture
def trial(tmp_path: Path) -> Folder:
    return Folder(tmp_path, more=TRIAL).filled()


def test_the_command_publishes_the_last_run_or_the_one_that_is_named(trial: Folder) -> None:
    first = trial.audit(0).report["run"]
    assert trial.run("publish").out.startswith("star  3 windows, ")
    assert trial.run("publish").out.startswith("star  3 windows, as published before: ")
    trial.put("lake/b", trial.path.joinpath("lake/a").read_bytes())
    second = trial.audit(1).report["run"]
    trial.run("publish")
    star = Star(trial.path)
    assert star.ask("SELECT run, verdict FROM runs ORDER BY as_of") == [
        (first, "pass"),
        (second, "fail"),
    ]
    told = trial.run("publish", "--run", first, "--json").report
    assert told["run"] == first
    assert told["published"][0]["destination"] == "star"
    one = trial.run("publish", "--window", "2026-03-01T10:00")
    assert one.out.startswith("star  1 window, as published before: ")
    assert star.ask('SELECT count(DISTINCT "window") FROM balance') == [(3,)]


def test_a_pipeline_without_a_destination_says_so(trial: Folder) -> None:
    trial.configure('source: {kind: files, path: "source/*"}')
    trial.audit(0)
    for command in ("publish", "catalog"):
        outcome = trial.run(command)
        assert outcome.status == 2
        assert "publish" in outcome.err


def test_the_catalogue_is_made_again_by_its_command(trial: Folder) -> None:
    assert "there is no star here yet" in trial.run("catalog").err
    trial.audit(0)
    trial.run("publish")
    (trial.path / "star" / "catalog.duckdb").unlink()
    assert trial.run("catalog").status == 0
    with duckdb.connect(str(trial.path / "star" / "catalog.duckdb"), read_only=True) as asked:
        assert asked.execute("SELECT count(*) FROM completeness_by_day").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("star", "told"),
    [
        ("https://host/star", "`https://` is not known: use a local folder, s3://"),
        ("S3://bucket/star", "`S3://` is not known"),
        ("s3:/bucket/star", "`s3:/` lacks a slash: write s3://"),
        ("s3:///star", "names no bucket: write s3://bucket/folder"),
        ("file://star", "write file:///folder, or just /folder"),
        ("star?x", "holds one of `* ? [ ]`"),
        ("s3://bucket/[x]", "holds one of `* ? [ ]`"),
    ],
)
def test_an_address_that_no_star_can_have_is_refused(trial: Folder, star: str, told: str) -> None:
    trial.configure(
        'source: {kind: files, path: "source/*"}', more=f"publish: {{star: '{star}'}}\n"
    )
    outcome = trial.run("check-config")
    assert outcome.status == 2
    assert told in outcome.err


def test_a_star_may_be_named_as_a_file_address(trial: Folder) -> None:
    address = f"file://{trial.path}/elsewhere"
    trial.configure(
        'source: {kind: files, path: "source/*"}', more=f"publish: {{star: {address}}}\n"
    )
    trial.audit(0)
    assert trial.run("publish").status == 0
    assert (trial.path / "elsewhere" / "star.json").exists()


def test_secrets_of_the_star_are_masked(trial: Folder) -> None:
    trial.configure(
        'source: {kind: files, path: "source/*"}',
        more="publish: {star: s3://u:hidden-1@b/x, options: {aws_secret_access_key: hidden-2}}\n",
    )
    for outcome in (trial.run("check-config"), trial.run("check-config", "--json")):
        assert outcome.status == 0
        assert "hidden" not in outcome.out
