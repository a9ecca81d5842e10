"""Compiles the kernels once, so that no audit waits for it: `python -m fidelity.warm`.

Each module with kernels has a `warm()` that calls them on a few records; numba keeps the result.
"""

import importlib

MODULES = (
    "fidelity.identity",
    "fidelity.sketch",
    "fidelity.observe",
    "fidelity.decode",
    "fidelity.sources",
    "fidelity.sources.kafka",
    "fidelity.sources.manifests",
    "fidelity.stamp.embed",
)


def warm() -> None:
    """Compile every kernel that is not in numba's cache."""
    for name in MODULES:
        compiled = getattr(importlib.import_module(name), "warm", None)
        if compiled is not None:
            compiled()


if __name__ == "__main__":
    warm()
