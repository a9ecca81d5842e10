"""Stamping: the producer's side. Gives every record its id, and counts what was written."""

from fidelity.stamp.stamper import Stamper

__all__ = ["Stamper"]
