"""Fixtures that are real S3 and HDFS servers. `conftest.py` imports them."""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow.fs as pafs
import pytest
from hdfs_native import Client, WriteOptions

from examples.lakes import S3, Hdfs, MissingError


@dataclass(frozen=True)
class Lake:
    """A folder of its own on S3 or HDFS, written by other clients than the one under test."""

    uri: str
    put: Callable[[str, bytes], None]  # name below the folder, content; replaces what is there
    remove: Callable[[str], None]
    options: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An S3 server for the whole test run."""
    try:
        server = S3()
        server.launch()
    except MissingError as error:  # nothing else asks for Go
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture(scope="session")
def hdfs() -> Iterator[Hdfs]:
    """A NameNode and a DataNode for the whole test run. Who freezes or kills them undoes it."""
    with Hdfs() as server:
        yield server


_numbers = itertools.count()


@pytest.fixture
def bucket(s3: S3) -> Lake:
    """A bucket of the test's own."""
    return bucket_of(s3)


def bucket_of(s3: S3) -> Lake:
    """A new bucket of a server."""
    name = s3.make_bucket(f"bucket-{next(_numbers)}")
    client = pafs.S3FileSystem(
        access_key=s3.access_key, secret_key=s3.secret_key, region=s3.region,
        endpoint_override=s3.address, scheme="http",
    )  # fmt: skip

    def put(path: str, content: bytes) -> None:
        with client.open_output_stream(f"{name}/{path}", compression=None) as stream:
            stream.write(content)

    return Lake(f"s3://{name}", put, lambda path: client.delete_file(f"{name}/{path}"), s3.options)


@pytest.fixture
def folder(hdfs: Hdfs) -> Lake:
    """An HDFS folder of the test's own, with small blocks."""
    # By default an object that a failed test left open waits three minutes for a server that ended.
    hasty = {"dfs.client.failover.max.attempts": "1"}
    client, name = Client(hdfs.uri, hasty), f"/folder-{os.getpid()}-{next(_numbers)}"
    client.mkdirs(name)
    small = WriteOptions(block_size=1 << 20, overwrite=True, create_parent=True)

    def put(path: str, content: bytes) -> None:
        for left in reversed(range(20)):
            try:
                file = client.create(f"{name}/{path}", small)
                file.write(content)
                file.close()
                return
            except RuntimeError as error:  # a busy name node has not heard of the block before yet
                if "NotReplicatedYet" not in str(error) or not left:
                    raise
                time.sleep(0.5)

    return Lake(hdfs.uri + name, put, lambda path: client.delete(f"{name}/{path}"))


@pytest.fixture(params=["bucket", "folder"], ids=["s3", "hdfs"])
def lake(request: pytest.FixtureRequest) -> Lake:
    """Each in turn."""
    found: Lake = request.getfixturevalue(request.param)
    return found
