"""Real S3 and HDFS servers, for tests and trials. `python -m examples.lakes` only fetches them."""

from examples.lakes.hdfs import Hdfs
from examples.lakes.s3 import S3
from examples.processes import MissingError, ServerError

__all__ = ["S3", "Hdfs", "MissingError", "ServerError"]
