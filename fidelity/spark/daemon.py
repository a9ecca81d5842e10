"""Spark's Python daemon, with all that reading needs imported: `python -m fidelity.spark.daemon`.

An executor starts one and has it fork a process for each of its cores, so what is imported here is
imported once. Spark hands over its own daemon's arguments; what it does is Spark's own.
"""

import gc
import importlib
import os
from zipimport import zipimporter

from fidelity.sources.ahead import no_cores_to_spare

MODULES = (
    "fidelity.decode",
    "fidelity.observe.observer",
    "fidelity.sources.columnar",
    "fidelity.sources.kafka",
    "fidelity.sources.text",
    "fidelity.spark.executor",
)
"""They must start no threads: a fork would lose them."""


def prepare() -> None:
    """Import the modules, and load their kernels."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # it is not used
    gc.disable()  # what is imported stays: looking for garbage takes a sixth of the start
    for name in MODULES:
        warm = getattr(importlib.import_module(name), "warm", None)
        if warm is not None:
            warm()
    # Spark has modules looked for anew before each task, and Python reads the directory of each zip
    # file again for that, pyspark's own among them: a tenth of a second a task.
    zipimporter.invalidate_caches = _unchanged  # type: ignore[assignment, method-assign]
    no_cores_to_spare()  # each task has one core
    gc.freeze()
    gc.enable()


def _unchanged(_: zipimporter) -> None:
    """A zip file stays as it is while it is in use."""


if __name__ == "__main__":
    prepare()
    from pyspark.daemon import manager

    manager()  # type: ignore[no-untyped-call]
