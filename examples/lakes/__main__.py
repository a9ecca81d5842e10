"""Fetch what is not there yet: Hadoop's jars with Maven, the S3 server with Go."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from examples.lakes import hdfs, s3
from examples.processes import MissingError, ServerError


def _fetch(what: str, there: bool, fetch: Callable[[], Path]) -> None:
    if there:
        return
    print(f"{what} ... ", end="", file=sys.stderr, flush=True)
    began = time.monotonic()
    fetch()
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    try:
        _fetch("Fetching Hadoop's jars with Maven", hdfs.is_there(), hdfs.fetched)
        _fetch("Building the S3 server with Go (a minute)", s3.is_there(), s3.fetched)
    except MissingError as error:  # Go is asked for by nothing else
        print(f"left out. {error}", file=sys.stderr)
    except ServerError as error:
        sys.exit(f"failed.\n{error}")
