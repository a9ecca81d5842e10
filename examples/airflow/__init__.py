"""A real Airflow in an environment of its own, for tests and for a look at it."""

from examples.airflow.environment import fetched, is_there
from examples.airflow.server import Airflow, family

__all__ = ["Airflow", "family", "fetched", "is_there"]
