"""A real Spark cluster on this machine, for tests and trials; see `standalone.py`."""

from examples.cluster.standalone import Cluster
from examples.processes import ServerError

__all__ = ["Cluster", "ServerError"]
