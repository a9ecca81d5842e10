"""A driver in a process of its own: a session on a cluster, and scans on demand.

Run by tests.engines.Driver: a line of JSON in for each scan, a line of JSON out.
"""

import json
import sys
from pathlib import Path

from fidelity import scheduler
from fidelity.config import Engine
from fidelity.errors import FidelityError
from fidelity.scan import scan
from fidelity.spark.session import session
from tests.scans import LATER, opened, pipeline


def main() -> None:
    """Serve until stdin ends."""
    scheduler.SMALLEST_TASK = 1
    engine = Engine(kind="spark", master=sys.argv[1], conf=json.loads(sys.argv[2]))
    held = session(engine)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        made = pipeline(Path(asked["folder"]), source=asked["pattern"])
        try:
            result = scan(made, opened(made), as_of=LATER, workers=asked["workers"], engine=engine)
            answer: object = sum(stage.records for stage in result.stages)
        except FidelityError as error:
            answer = str(error)
        print(json.dumps(answer), flush=True)
    held.close()


if __name__ == "__main__":
    main()
