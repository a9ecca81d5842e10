"""Lean processes, for those that are ours alone.

pyarrow and DuckDB look for pandas, and numba for scipy, and import them wherever they are
installed: over 100 MB and almost a second in each process, for conversions and linear algebra that
scanning and reconciling never do. pyarrow's own allocator keeps what was freed, 12 MB where Parquet
is read, and is no quicker there than the system's.
"""

import os
import sys

_HEAVY = ("pandas", "scipy")
_POOL = "ARROW_DEFAULT_MEMORY_POOL"


class _NotInstalled:
    """A finder by which they are not installed."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name in _HEAVY:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def become_lean() -> None:
    """Have nobody find pandas and scipy in this process, and give back memory."""
    if _NotInstalled not in sys.meta_path:
        sys.meta_path.insert(0, _NotInstalled)
    # What pyarrow reads as it is imported; a pool that is set later serves but part of it.
    chosen = os.environ.setdefault(_POOL, "system")
    import pyarrow

    if chosen == "system":
        pyarrow.set_memory_pool(pyarrow.system_memory_pool())


def stay_lean_no_more() -> None:
    """Have pandas and scipy found again: for a library that looks for them and means it."""
    if _NotInstalled in sys.meta_path:
        sys.meta_path.remove(_NotInstalled)
