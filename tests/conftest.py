"""Settings that all tests share."""

import pytest
from airflows import scheduled  # noqa: F401 -- a fixture
from engines import cluster, engine, spark  # noqa: F401 -- fixtures
from hypothesis import settings
from lakes import bucket, folder, hdfs, lake, s3  # noqa: F401 -- fixtures
from servers import kafka, keystore, make_topic, own_kafka, second_kafka  # noqa: F401 -- fixtures

# A kernel's first call compiles it, which takes longer than any deadline an example should have.
settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")

SPARK = {"spark", "cluster"}
"""Fixtures that start Spark."""
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
        elif SPARK & names or parameters.get("engine") == "spark":
            item.add_marker(pytest.mark.xdist_group("spark"))
        elif "scheduled" in names:
            item.add_marker(pytest.mark.xdist_group("airflow"))
