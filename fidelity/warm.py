"""Compiles the kernels once, so that no audit waits for it: `python -m fidelity.warm`.

Modules with kernels have a `warm()` that calls them on a few records; numba keeps the result. What
is left is met by a small audit of files with a loss. Then all that commands import is imported,
whose bytecode Python keeps.
"""

import importlib
import json
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import fidelity

MODULES = (
    "fidelity.decode",
    "fidelity.sources.manifests",
    "fidelity.sources.text",
    "fidelity.identity",
    "fidelity.sketch",
    "fidelity.observe.observer",
    "fidelity.trace.reread",
    "fidelity.sources.kafka_batches",
    "fidelity.stamp.embed",
    "fidelity.dedup.runs",
)
_HALF = 3
"""So many of them take about as long as the others do."""

_LATE = ("great_expectations", "pyspark.sql", "pyspark.daemon")
"""Imported only where they are needed, and not installed everywhere."""

_PIPELINE = """
pipeline: warm
store: store
stages:
  source: {kind: files, path: source.jsonl}
  sink: {kind: files, path: sink.jsonl, after: source}
"""


def warm(modules: Sequence[str] = MODULES) -> None:
    """Compile every kernel of some modules that is not in numba's cache."""
    for name in modules:
        importlib.import_module(name).warm()


def try_out() -> None:
    """Compile what is left, by a small audit."""
    with tempfile.TemporaryDirectory(prefix="fidelity-warm-") as folder:
        _audit(Path(folder))


def _audit(folder: Path) -> None:
    from fidelity.audit import audit
    from fidelity.config import Engine, load

    record = {"ts": "2026-01-01T00:00:00Z", "stream": "s", "origin": "o"}
    lines = [json.dumps(record | {"fid": f"{n:08x}"}) + "\n" for n in range(10)]
    (folder / "source.jsonl").write_text("".join(lines))
    (folder / "sink.jsonl").write_text("".join(lines[1:]))
    (folder / "pipeline.yaml").write_text(_PIPELINE)
    audit(load(folder / "pipeline.yaml"), workers=1, engine=Engine())


def import_all() -> None:
    """Import all that a command may import."""
    for module in pkgutil.walk_packages(fidelity.__path__, "fidelity."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _LATE:
        with suppress(ImportError):
            importlib.import_module(name)


def main(modules: Sequence[str]) -> int:
    """Compile modules' kernels; without modules all, in two processes, and all else."""
    if modules:
        warm(modules)
        return 0
    other = subprocess.Popen([sys.executable, "-m", "fidelity.warm", *MODULES[_HALF:]])
    warm(MODULES[:_HALF])
    import_all()
    status = other.wait()
    try_out()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
