"""Stamping: the producer's side. Gives every record its id, and counts what was written.

Stamper here; `fidelity.stamp.logs` for the logging module, `fidelity.stamp.pipe` for lines.
"""

from fidelity.stamp.stamper import Stamper

__all__ = ["Stamper"]
