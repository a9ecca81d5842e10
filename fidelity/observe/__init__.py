"""Observe: records add up to observations. See observer.

What adds up (`Observer`, `warm`) is imported when it is asked for: its kernels weigh 40 MB, and who
plans, commits or reads observations needs none of them.
"""

from typing import TYPE_CHECKING, Any

from fidelity.observe.observations import LAWS, OBSERVATIONS, merge, write_options

if TYPE_CHECKING:
    from fidelity.observe.observer import Observer, warm

__all__ = ["LAWS", "OBSERVATIONS", "Observer", "merge", "warm", "write_options"]


def __getattr__(name: str) -> Any:
    if name not in ("Observer", "warm"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fidelity.observe import observer

    return getattr(observer, name)
