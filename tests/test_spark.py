"""The scheduler on Spark: the rows of the local one, and nothing counted where a job fails."""

import gzip
import os
import re
import signal
import subprocess
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from audits import COMMAND, REPOSITORY, Folder
from confluent_kafka import Producer
from engines import Driver, busy, java, kill
from py4j.protocol import Py4JJavaError
from pyspark.accumulators import AddingAccumulatorParam
from scans import LATER, append, data_files, in_force, lines, opened, pipeline
from servers import create_topic
from test_scan_formats import written

from examples.brokers import Broker
from fidelity import scheduler
from fidelity.config import Engine, Pipeline, RecordSpec, Stage
from fidelity.errors import EngineError, SourceError, StoreError
from fidelity.scan import ScanResult, scan
from fidelity.spark.executor import mapping
from fidelity.spark.failures import no_session
from fidelity.spark.session import Session
from fidelity.store import Store

SPARK, LOCAL = Engine(kind="spark"), Engine(kind="local")


def rows(store: Store) -> list[list[dict[str, Any]]]:
    """Every row of both tables, but for the scan's name and the tables' order."""
    tables = (store.observations().to_table(), store.at().in_force())
    found = [table.drop_columns(["scan"]).to_pylist() for table in tables]
    return [sorted(each, key=str) for each in found]


def scanned(made: Pipeline, name: str, engine: Engine, tasks: int) -> tuple[Any, Counter[str]]:
    """The rows of a fresh store, and how many tasks each stage took."""
    made = made.model_copy(update={"store": f"{made.store}-{name}"})
    told: Counter[str] = Counter()

    def tell(stage: str, done: int, planned: int) -> None:
        told[stage] += 1  # once when it is planned, and once a task

    store = opened(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "TINY", 0)
        patch.setattr(scheduler, "SMALLEST_TASK", 1)
        patch.setattr(scheduler, "_TASKS_A_WORKER", 1)
        result = scan(made, store, as_of=LATER, workers=tasks, progress=tell, engine=engine)
    assert result.errors == ()
    return rows(store), Counter({stage: count - 1 for stage, count in told.items()})


@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_the_rows_are_those_of_the_local_engine_whatever_the_number_of_tasks(
    spark: Session, tmp_path: Path, tasks: int
) -> None:
    random, folder = Random(tasks), tmp_path
    made = written(folder)  # JSON, gzip, zstd, text, Parquet and manifests
    for number in range(9):
        content = lines(f"h{number}", random.randrange(1000), random.randrange(400))
        append(folder / "many" / f"{number}.jsonl", content)
        append(folder / "packed" / f"{number}.jsonl.gz", gzip.compress(content))
    more = pipeline(folder, many="many/*", packed="packed/*").stages
    after = {"after": "source"}
    stages = (*made.stages, *(stage.model_copy(update=after) for stage in more))
    made = made.model_copy(update={"stages": stages})
    expected, _ = scanned(made, "local", LOCAL, 1)
    found, took = scanned(made, "spark", SPARK, tasks)
    assert found == expected
    assert took["source"] == 1
    assert took["many"] >= min(tasks, 2)


@pytest.mark.servers
@pytest.mark.parametrize("tasks", [1, 7])
def test_a_topics_rows_are_those_of_the_local_engine(
    spark: Session, kafka: Broker, tmp_path: Path, tasks: int
) -> None:
    topic = create_topic(kafka, 7)
    producer = Producer({"bootstrap.servers": kafka.address, "compression.type": "lz4"})
    for partition in range(7):
        for line in lines(f"h{partition}", 0, 300).splitlines():
            producer.produce(topic, line, partition=partition)
    assert producer.flush(30) == 0
    stage = Stage(
        name="topic", kind="kafka", brokers=kafka.address, topics=(topic,), record=RecordSpec()
    )
    made = Pipeline(name="p", store=str(tmp_path / "store"), stages=(stage,))
    expected, _ = scanned(made, "local", LOCAL, 1)
    found, took = scanned(made, "spark", SPARK, tasks)
    assert found == expected
    assert took["topic"] == tasks


def test_nothing_new_asks_nothing_of_spark(tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    nowhere = Engine(kind="spark", master="spark://127.0.0.1:9")
    assert scan(made, opened(made), engine=nowhere).stages[0].units == 0


def test_an_error_of_the_users_in_a_task_is_told_as_it_is(spark: Session, tmp_path: Path) -> None:
    append(tmp_path / "source" / "a.jsonl", lines("h", 0, 100))
    made = pipeline(tmp_path)
    store = opened(made)
    folder = Path(store.observations_table.uri)

    def spoil(stage: str, done: int, planned: int) -> None:
        folder.rename(folder.with_name("elsewhere"))
        folder.write_text("a file where the folder should be")

    with pytest.raises(StoreError) as error:
        scan(made, store, progress=spoil, engine=SPARK)
    assert "observations" in str(error.value)


def test_a_stage_out_of_reach_is_told_and_its_other_tasks_are_given_up(
    spark: Session, own_kafka: Broker, tmp_path: Path
) -> None:
    topic = create_topic(own_kafka, 8)
    producer = Producer({"bootstrap.servers": own_kafka.address})
    for partition in range(8):
        for line in lines(f"h{partition}", 0, 300).splitlines():
            producer.produce(topic, line, partition=partition)
    assert producer.flush(30) == 0
    append(tmp_path / "source" / "a.jsonl", lines("h", 0, 100))
    stage = Stage(
        name="topic", kind="kafka", after="source", brokers=own_kafka.address, topics=(topic,),
        options={"default.api.timeout.ms": "1000"},
    )  # fmt: skip
    made = pipeline(tmp_path)
    made = made.model_copy(update={"stages": (*made.stages, stage)})

    def end(stage: str, done: int, planned: int) -> None:
        if stage == "topic" and planned and not done:
            own_kafka.kill()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "SMALLEST_TASK", 1)
        result = scan(made, opened(made), as_of=LATER, workers=8, progress=end, engine=SPARK)
    (error,) = result.errors
    assert isinstance(error, SourceError)
    assert [stage.records for stage in result.stages] == [100, 0]


class Slow:
    """Work of some seconds for one task: half a million lines in one gzip file."""

    def __init__(self, folder: Path) -> None:
        folder = folder / "source"
        folder.mkdir()
        (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines("h", 0, 20_000), 1) * 40)
        self.made = pipeline(folder.parent, source="source/*")
        self.store = opened(self.made)

    def disturbed(self, disturb: Any) -> ScanResult:
        """Scan, and meanwhile disturb, in a thread of its own."""
        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            return scan(self.made, self.store, as_of=LATER, engine=SPARK)
        finally:
            thread.join()

    def assert_untouched(self) -> None:
        """Nothing was counted, and nothing is left behind."""
        assert self.store.version() == 0
        assert in_force(self.store) == []
        assert data_files(self.store) == set()


def test_a_job_that_fails_for_good_leaves_the_store_as_it_was_and_says_why(
    spark: Session, tmp_path: Path
) -> None:
    slow = Slow(tmp_path)

    def end() -> None:
        for pid in busy(java(os.getpid())):
            kill(pid)

    with pytest.raises(EngineError) as error:  # one failure is enough with local[2]
        slow.disturbed(end)
    text = str(error.value)
    assert "a Python worker died in the middle of its task" in text
    assert "Nothing of the stage was counted" in text
    assert "\n" not in text
    assert "java" not in text.lower()
    slow.assert_untouched()
    result = scan(slow.made, slow.store, as_of=LATER, engine=SPARK)
    assert result.stages[0].records == 800_000


def test_an_interrupt_cancels_the_job_and_counts_nothing(spark: Session, tmp_path: Path) -> None:
    slow = Slow(tmp_path)

    def interrupt() -> None:
        busy(java(os.getpid()))
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        slow.disturbed(interrupt)
    assert (slow.store.version(), in_force(slow.store)) == (0, [])
    assert spark.spark.sparkContext.statusTracker().getActiveJobsIds() == []


def test_a_java_process_that_dies_is_told_of(tmp_path: Path) -> None:
    """In a process of its own, which lives on."""
    slow = Slow(tmp_path)
    driver = Driver("local[1]")
    try:
        driver.ask(tmp_path, "source/*")
        (process,) = java(driver.pid)
        busy([process])
        kill(process)
        error = driver.answer()
        assert isinstance(error, str)
        assert error.startswith("stage source, Spark on local[1]: Spark's Java process died.")
        slow.assert_untouched()
        driver.ask(tmp_path, "source/*")
        assert driver.answer() == (
            "Spark's Java process, which this program started, is gone. Start the program again."
        )
    finally:
        driver.close()


def test_another_version_on_the_executors_is_refused(spark: Session, tmp_path: Path) -> None:
    context = spark.spark.sparkContext
    parcels = context.broadcast([b"never looked at"])
    news = context.accumulator([], AddingAccumulatorParam([]))
    numbers = spark.spark.range(0, 1, 1, 1)
    (row,) = numbers.mapInArrow(
        mapping(parcels, news, "0.0.0"), "task long, outcome binary"
    ).collect()
    from fidelity.spark.executor import unpacked

    outcome = unpacked(row["outcome"])
    assert isinstance(outcome, EngineError)
    assert "the driver has 0.0.0" in str(outcome)


@pytest.mark.parametrize(
    ("master", "what"),
    [
        ("spark://127.0.0.1:9", "the master cannot be reached"),
        ("nonsense", "Could not parse Master URL"),
    ],
)
def test_a_session_that_cannot_be_had_is_told(master: str, what: str, tmp_path: Path) -> None:
    """In a process of its own: here there is one already, which would be used."""
    folder = Folder(tmp_path).filled()
    done = folder.start("scan", str(folder.file), "--engine", "spark", "--master", master)
    out, err = done.communicate(timeout=120)
    assert (done.returncode, out) == (2, b"")
    assert what in err.decode()
    assert len(err.decode().splitlines()) == 1


@pytest.mark.parametrize(
    ("master", "variables", "what"),
    [
        ("yarn", {}, "neither HADOOP_CONF_DIR nor YARN_CONF_DIR is set"),
        ("local", {"SPARK_REMOTE": "sc://127.0.0.1"}, "Spark Connect cannot be used"),
        ("local", {"SPARK_API_MODE": "connect"}, "Spark Connect cannot be used"),
    ],
)
def test_what_spark_would_wait_for_in_vain_is_refused_before_it_starts(
    master: str, variables: dict[str, str], what: str, tmp_path: Path
) -> None:
    """In a process of its own, which starts no Java."""
    folder = Folder(tmp_path).filled()
    kept = {name: of for name, of in os.environ.items() if not name.endswith("_CONF_DIR")}
    done = subprocess.run(
        [*COMMAND, "scan", str(folder.file), "--engine", "spark", "--master", master],
        env={**kept, **variables, "JAVA_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert what in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_why_no_session_could_be_had_is_told_down_to_its_cause(spark: Session) -> None:
    jvm = spark.spark.sparkContext._jvm
    assert jvm is not None
    refused = jvm.java.net.ConnectException("Connection refused")
    where = jvm.java.io.IOException("Connection refused: /127.0.0.1:1", refused)
    error = Py4JJavaError("", jvm.java.lang.RuntimeException("An error has occurred.", where))
    told = str(no_session(error, "k8s://https://127.0.0.1:1", ""))
    assert "`An error has occurred: Connection refused: /127.0.0.1:1`" in told
    alone = Py4JJavaError("", jvm.java.lang.RuntimeException("Could not parse it"))
    assert "`Could not parse it`" in str(no_session(alone, "nonsense", ""))


def test_the_scan_of_a_notebook_that_is_shown_uses_the_session_that_is_there(
    spark: Session, tmp_path: Path
) -> None:
    page = (REPOSITORY / "docs" / "deployment.md").read_text("utf-8")
    (shown,) = re.findall(r"```python\n(.*?)```", page, re.S)
    folder = Folder(tmp_path).filled()
    names: dict[str, Any] = {}
    exec(shown.replace("/Volumes/logs/audit/pipeline.yaml", str(folder.file)), names)
    assert names["found"].errors == ()
    assert sum(stage.records for stage in names["found"].stages) == 120
    assert spark.spark.range(3).count() == 3
