"""The brokers of the demo and the tests: real, and never left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kafka_records import fill, read_bulk, stage_of, until
from servers import create_topic

from examples.brokers import Broker, BrokerError, jars
from examples.processes import ROOT


def test_a_missing_program_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="apt install openjdk-17-jre-headless"):
        jars()


@pytest.mark.servers
def test_a_broker_keeps_its_records_over_a_restart(own_kafka: Broker) -> None:
    topic = create_topic(own_kafka)
    fill(own_kafka.address, topic, 10)
    own_kafka.restart()
    fill(own_kafka.address, topic, 10)
    assert len(read_bulk(stage_of(own_kafka.address, topic))) == 20


@pytest.mark.servers
def test_a_broker_that_cannot_start_tells_its_log(tmp_path: Path) -> None:
    broker = Broker("bad", {"num.io.threads": "none"}, folder=tmp_path)
    with pytest.raises(BrokerError, match=r"num\.io\.threads"):
        broker.start()
    assert broker.pid is None


@pytest.mark.servers
@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_a_broker_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from examples.brokers import Broker;"
        f"print(Broker('orphan', folder=Path({str(tmp_path)!r})).launch().pid, flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    until(lambda: not _runs(pid), "its end")


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
