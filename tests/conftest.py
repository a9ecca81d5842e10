"""Settings that all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflows import scheduled  # noqa: F401 -- a fixture
from engines import cluster, engine, spark  # noqa: F401 -- fixtures
from hypothesis import settings
from lakes import bucket, folder, hdfs, lake, s3  # noqa: F401 -- fixtures
from servers import kafka, keystore, make_topic, mortal_kafka, own_kafka, second_kafka  # noqa: F401 -- fixtures

from fidelity.config.model import ENGINE_VARIABLE

# A kernel's first call compiles it, which takes longer than any deadline an example should have.
settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")

# Spark's processes live for seconds here: compiling for the long run takes longer than what is run.
os.environ["SPARK_CONF_DIR"] = str(Path(__file__).parent / "spark")
os.environ["SPARK_DAEMON_JAVA_OPTS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

SERVERS = {"kafka", "second_kafka", "own_kafka", "s3", "hdfs", "lake"}
"""Fixtures that start servers, or ask for one that does."""


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one set of servers run in one process: a server starts once a test run.

    So do those of Spark that need no other server: a session starts once in each process.
    """
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if SERVERS & names:
            item.add_marker(pytest.mark.xdist_group("servers"))
        elif "cluster" in names:
            item.add_marker(pytest.mark.xdist_group("cluster"))
        elif "spark" in names or parameters.get("engine") == "spark":
            item.add_marker(pytest.mark.xdist_group("spark"))
        elif "scheduled" in names:
            item.add_marker(pytest.mark.xdist_group("airflow"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Who does not ask for an engine has none: that of a module's other tests is still there."""
    asked = "engine" in getattr(item, "fixturenames", ())
    hidden = None if asked else os.environ.pop(ENGINE_VARIABLE, None)
    try:
        return (yield)
    finally:
        if hidden is not None:
            os.environ[ENGINE_VARIABLE] = hidden
