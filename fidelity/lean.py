"""Lean processes, for those that are ours alone.

pyarrow looks for pandas once, and imports it wherever it is installed: 30 MB and a third of a
second in each process, for conversions that scanning and reconciling never make. Its own allocator
keeps what was freed, 12 MB where Parquet is read, and is no quicker there than the system's.
"""

import sys


class _NoPandas:
    """A finder by which pandas is not installed."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)


def become_lean() -> None:
    """Have pyarrow find no pandas, and give back memory.

    Whoever imports pandas still can, but pyarrow makes none of it.
    """
    sys.meta_path.insert(0, _NoPandas)
    try:
        import pyarrow

        pyarrow.scalar(0)
        pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    finally:
        sys.meta_path.remove(_NoPandas)
