"""A Spark cluster to try Fidelity on: `python -m examples.cluster`, until it is interrupted."""

import signal
import sys

from examples.cluster import Cluster, ServerError


def main() -> int:
    """Start it, tell its address, wait."""
    try:
        with Cluster() as cluster:
            print(f"fidelity audit pipeline.yaml --engine spark --master {cluster.master}")
            print(f"Its page: {cluster.page}. Ctrl-C ends it.")
            signal.pause()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
