"""Install Airflow into an environment of its own, unless it is there already."""

import sys

from examples.airflow.environment import fetched
from examples.processes import ServerError

if __name__ == "__main__":
    try:
        fetched()
    except ServerError as error:
        sys.exit(f"failed.\n{error}")
